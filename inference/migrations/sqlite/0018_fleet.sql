-- What several servers of one state must not do twice, or too often together.

-- One row: who stores a request under a limit moves it, so that whoever else wants to waits and then counts anew.
CREATE TABLE request_room (
    id     INTEGER PRIMARY KEY NOT NULL,
    claims INTEGER NOT NULL
) STRICT;
INSERT INTO request_room (id, claims) VALUES (1, 0);

-- What an alert has said, once: `alert:` its labels and its start, and what its label is of (`prediction:`, `breach:`).
CREATE TABLE alert_labels (
    key         TEXT PRIMARY KEY NOT NULL,
    feedback_id TEXT NOT NULL,
    at_ms       INTEGER NOT NULL
) STRICT;
INSERT INTO alert_labels (key, feedback_id, at_ms)
    SELECT 'prediction:' || prediction_id, min(id), min(created_at_ms) FROM feedback
    WHERE source = 'alertmanager' AND prediction_id IS NOT NULL GROUP BY prediction_id;
INSERT INTO alert_labels (key, feedback_id, at_ms)
    SELECT 'breach:' || kind || ':' || breach_at_ms || ':' || service, min(id), min(created_at_ms) FROM feedback
    WHERE source = 'alertmanager' AND prediction_id IS NULL AND verdict = 'missed' AND kind IS NOT NULL
    GROUP BY kind, breach_at_ms, service;
