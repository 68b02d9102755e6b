-- What lies here because the bucket cannot compare and swap: registry pointers and the dataset's manifest,
-- by store and path. The version goes up with every write.
CREATE TABLE pointers (
    key     TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    bytes   BLOB NOT NULL
) STRICT;
