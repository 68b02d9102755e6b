-- What came of each request as the forecast saw it afterwards, and how that moved each playbook on its ladder. Times are Unix
-- milliseconds: of steps where the server decides, of its clock where somebody told it something.

CREATE TABLE verifications (
    request_id     TEXT PRIMARY KEY NOT NULL REFERENCES requests (id),
    service        TEXT NOT NULL,
    playbook       TEXT NOT NULL,
    mode           TEXT NOT NULL,      -- the rung on which it was asked for
    at_ms          INTEGER NOT NULL,   -- when it was
    shard          TEXT NOT NULL,
    acted_at_ms    INTEGER,            -- since when something may have been done: approved, or at once where automatic
    rejected_at_ms INTEGER,
    outcome        TEXT,               -- succeeded, failed: what the controller said
    outcome_at_ms  INTEGER,
    phase          TEXT NOT NULL,      -- said (a dry run: there is nothing to find), open, done
    watch          TEXT NOT NULL,      -- what is remembered from step to step, JSON
    finding        TEXT,               -- verified, failed, worsened, undecided, not_done
    reason         TEXT,
    evidence       TEXT,               -- JSON
    found_at_ms    INTEGER
) STRICT;
CREATE INDEX verifications_by_phase ON verifications (phase, shard);
CREATE INDEX verifications_by_playbook ON verifications (service, playbook, at_ms);
CREATE INDEX verifications_by_finding ON verifications (finding, found_at_ms);

-- Whatever moved a playbook or was counted for it, in order. A cause counts once: the second of the same finds its place taken.
CREATE TABLE ladder_moves (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    service   TEXT NOT NULL,
    playbook  TEXT NOT NULL,
    cause     TEXT NOT NULL,           -- request:ID, drift:REPORT, climb:MODE:SINCE, hand:ID
    at_ms     INTEGER NOT NULL,
    event     TEXT NOT NULL,           -- verified, failed, rejected, drifted, climbed, set, forgotten
    from_mode TEXT NOT NULL,
    to_mode   TEXT NOT NULL,
    verified  INTEGER NOT NULL,        -- successes counted on the rung, after it
    reason    TEXT NOT NULL,
    who       TEXT NOT NULL,
    UNIQUE (service, playbook, cause)
) STRICT;
