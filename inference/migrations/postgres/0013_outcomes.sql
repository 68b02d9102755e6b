-- What happened to targets, as the data show it. The body is the JSON of models' Happened.
CREATE TABLE happenings (
    id      TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    signal  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    at_ms   BIGINT NOT NULL,
    what    TEXT NOT NULL,
    body    TEXT NOT NULL,
    shard   TEXT NOT NULL   -- which server's, as in outbox
);
CREATE INDEX happenings_by_time ON happenings (at_ms);
CREATE INDEX happenings_of_signal ON happenings (service, signal, at_ms);

-- What was said and is not settled yet. The body is the JSON of an announcement; its row goes with its settlement.
CREATE TABLE unsettled (
    id      TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    kind    TEXT NOT NULL,
    due_ms  BIGINT NOT NULL,   -- not looked at before
    body    TEXT NOT NULL,
    shard   TEXT NOT NULL
);
CREATE INDEX unsettled_by_due ON unsettled (shard, due_ms);
CREATE INDEX unsettled_of_service ON unsettled (service, kind);
CREATE INDEX settlements_of_requests ON settlements (request_id) WHERE request_id IS NOT NULL;
