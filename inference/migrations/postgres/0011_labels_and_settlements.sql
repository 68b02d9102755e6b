-- Labels of requests and of spans of time, and who gave a label.
ALTER TABLE feedback ADD COLUMN request_id TEXT;
ALTER TABLE feedback ADD COLUMN ends_at_ms BIGINT;               -- of a span, which begins at breach_at_ms
ALTER TABLE feedback ADD COLUMN who TEXT NOT NULL DEFAULT ''; -- as in audit

-- What the data say of announcements, apart from what people say. The body is the JSON of schema's Settlement.
CREATE TABLE settlements (
    id            TEXT PRIMARY KEY,
    request_id    TEXT,
    service       TEXT NOT NULL,
    kind          TEXT NOT NULL,
    at_ms         BIGINT NOT NULL,   -- when it was said
    settled_at_ms BIGINT NOT NULL,
    was           TEXT NOT NULL,
    body          TEXT NOT NULL
);
CREATE INDEX settlements_by_time ON settlements (settled_at_ms);
