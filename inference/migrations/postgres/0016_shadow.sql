-- What challengers said beside what serves, and what happened meanwhile. Times are Unix milliseconds, of steps.

-- How much of its period a challenger has scored.
CREATE TABLE shadow_periods (
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    scored  BIGINT NOT NULL,   -- steps
    last_ms BIGINT NOT NULL,   -- the last of them: none counts twice
    PRIMARY KEY (service, version)
);

-- What both said of a target; the sides are JSON of models::shadow::Said.
CREATE TABLE shadow_pairs (
    service    TEXT NOT NULL,
    version    TEXT NOT NULL,
    target_key TEXT NOT NULL,
    at_ms      BIGINT NOT NULL,
    horizon_ms BIGINT NOT NULL,
    champion   TEXT NOT NULL,
    challenger TEXT NOT NULL,
    PRIMARY KEY (service, version, target_key, at_ms)
);

-- What the challenger would have asked for; the body is the JSON of a request. It never leaves.
CREATE TABLE shadow_requests (
    id      TEXT NOT NULL,
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    at_ms   BIGINT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (id, version)
);
CREATE INDEX shadow_requests_by_version ON shadow_requests (service, version);

-- Limits that were reached meanwhile.
CREATE TABLE shadow_breaches (
    service    TEXT NOT NULL,
    version    TEXT NOT NULL,
    target_key TEXT NOT NULL,
    at_ms      BIGINT NOT NULL,
    over_ms    BIGINT NOT NULL,   -- the last step at the limit
    signal     TEXT NOT NULL,
    labels     TEXT NOT NULL,      -- JSON
    PRIMARY KEY (service, version, target_key, at_ms)
);
