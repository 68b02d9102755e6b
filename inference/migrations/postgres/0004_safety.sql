-- What people decided about requests: that none are made, of which services none are made for a while, how far each playbook may
-- act by itself. Times are Unix milliseconds.

-- At most one row, with id 1: requests are stopped.
CREATE TABLE stops (
    id       BIGINT PRIMARY KEY,
    since_ms BIGINT NOT NULL,
    who      TEXT NOT NULL,
    note     TEXT
);

CREATE TABLE silences (
    id            TEXT PRIMARY KEY,
    service       TEXT,          -- NULL: every service
    from_ms       BIGINT NOT NULL,
    until_ms      BIGINT NOT NULL,
    who           TEXT NOT NULL,
    note          TEXT,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX silences_by_end ON silences (until_ms);

CREATE TABLE modes (
    service  TEXT NOT NULL,
    playbook TEXT NOT NULL,
    mode     TEXT NOT NULL,      -- dry_run, approval, automatic
    since_ms BIGINT NOT NULL,
    verified BIGINT NOT NULL DEFAULT 0,
    who      TEXT NOT NULL,
    note     TEXT,
    PRIMARY KEY (service, playbook)
);

CREATE INDEX requests_by_status ON requests (status, status_at_ms);
CREATE INDEX outbox_by_state ON outbox (state, seq);
