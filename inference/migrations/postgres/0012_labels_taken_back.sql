-- Labels that can be taken back and given again, and the key that links are signed with.

-- In which order they came: times may be the same. Labels of before have 0 and their ids sort by time.
ALTER TABLE feedback ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
-- A label that was taken back is as good as gone, and stays so that it can be given again as it was.
ALTER TABLE feedback ADD COLUMN taken_back_ms BIGINT;
CREATE INDEX feedback_by_time ON feedback (created_at_ms, seq);
CREATE INDEX feedback_by_seq ON feedback (seq);
CREATE INDEX feedback_by_request ON feedback (request_id);
CREATE INDEX feedback_by_service ON feedback (service, breach_at_ms);

-- From now on a label of a prediction or a request also has what that is about: its service, its kind, and when it was said.
UPDATE feedback SET
    service = (SELECT p.service FROM predictions p WHERE p.id = feedback.prediction_id),
    kind = (SELECT p.kind FROM predictions p WHERE p.id = feedback.prediction_id),
    breach_at_ms = (SELECT p.at_ms FROM predictions p WHERE p.id = feedback.prediction_id)
WHERE prediction_id IS NOT NULL;
UPDATE feedback SET
    service = (SELECT r.service FROM requests r WHERE r.id = feedback.request_id),
    kind = (SELECT r.kind FROM requests r WHERE r.id = feedback.request_id),
    breach_at_ms = (SELECT r.at_ms FROM requests r WHERE r.id = feedback.request_id)
WHERE request_id IS NOT NULL;

-- What all servers of this state sign with. Values are base64.
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);
