-- What the weekly report tells besides: requests that were held back, services that looked unusual. Bodies are JSON.
CREATE TABLE held (
    id      TEXT PRIMARY KEY NOT NULL,     -- of who, why and since when: held once, told once
    at_ms   INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;
CREATE INDEX held_by_time ON held (at_ms);

CREATE TABLE sightings (
    service TEXT NOT NULL,
    at_ms   INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (service, at_ms)
) STRICT;
CREATE INDEX sightings_by_time ON sightings (at_ms);
