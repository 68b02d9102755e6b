-- What labels are learnt from, and what came of it. Times are Unix milliseconds.

-- How cautious one could have been and still have made a request: the JSON of models' Reached, in a list.
CREATE TABLE reached (
    request_id TEXT PRIMARY KEY NOT NULL,
    body       TEXT NOT NULL
) STRICT;

-- Every change of a threshold that was served with, in order. The body is the JSON of state's ThresholdMove.
CREATE TABLE threshold_moves (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,
    service TEXT NOT NULL,       -- empty: services without judged announcements of their own
    kind    TEXT NOT NULL,
    body    TEXT NOT NULL
) STRICT;
