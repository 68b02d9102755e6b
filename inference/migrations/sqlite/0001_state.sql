-- What the server decided and was told. Times are Unix milliseconds; bodies are the JSON of the
-- HTTP interface, so that a stored object reads back as it was sent.

CREATE TABLE predictions (
    id          TEXT PRIMARY KEY NOT NULL,
    target_key  TEXT NOT NULL,
    service     TEXT NOT NULL,
    kind        TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    probability REAL NOT NULL,
    body        TEXT NOT NULL
) STRICT;
CREATE INDEX predictions_by_target ON predictions (target_key, at_ms);
CREATE INDEX predictions_by_time ON predictions (at_ms);

CREATE TABLE requests (
    id            TEXT PRIMARY KEY NOT NULL,
    prediction_id TEXT NOT NULL,
    target_key    TEXT NOT NULL,
    service       TEXT NOT NULL,
    kind          TEXT NOT NULL,
    at_ms         INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    status        TEXT NOT NULL,
    status_at_ms  INTEGER NOT NULL,
    note          TEXT,
    body          TEXT NOT NULL
) STRICT;
CREATE INDEX requests_by_time ON requests (at_ms);
CREATE INDEX requests_by_service ON requests (service, kind, at_ms);

-- One row per message that has to leave, written in the transaction that decided it.
CREATE TABLE outbox (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id        TEXT NOT NULL UNIQUE,
    request_id      TEXT NOT NULL REFERENCES requests (id),
    target_key      TEXT NOT NULL,
    payload         TEXT NOT NULL,
    expires_at_ms   INTEGER NOT NULL,
    state           TEXT NOT NULL DEFAULT 'pending', -- pending, delivered, refused, expired
    attempts        INTEGER NOT NULL DEFAULT 0,
    delivered_at_ms INTEGER,
    last_error      TEXT
) STRICT;
CREATE INDEX outbox_pending ON outbox (seq) WHERE state = 'pending';
CREATE INDEX outbox_by_request ON outbox (request_id);

CREATE TABLE feedback (
    id            TEXT PRIMARY KEY NOT NULL,
    prediction_id TEXT,          -- of a prediction, or else of a breach:
    service       TEXT,
    kind          TEXT,
    breach_at_ms  INTEGER,
    verdict       TEXT NOT NULL,
    note          TEXT,
    source        TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX feedback_by_prediction ON feedback (prediction_id);

-- Who decided what, in order; rows are never changed or removed.
CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms  INTEGER NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

-- Written and emptied to find out whether the disk takes writes again after it was full.
CREATE TABLE probe (filler BLOB NOT NULL) STRICT;
