-- For several servers on one database (PostgreSQL); here there is one, but the same statements run on both.
-- Servers of one shard score the same targets; one of them leads: it alone asks and delivers.
CREATE TABLE leadership (
    shard  TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,      -- empty: given back
    epoch  INTEGER NOT NULL,   -- goes up with every change of leader: what an old one still writes is refused
    beats  INTEGER NOT NULL    -- goes up while the leader lives
) STRICT;

-- Which shard's leader delivers.
ALTER TABLE requests ADD COLUMN shard TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN shard TEXT NOT NULL DEFAULT '';
