-- The outbox: what integrators are told, and how far each sink has got.

-- Written by the transaction that changes the ledger. seq is the order in which sinks are told; what `events replay`
-- brings back from receipts gets numbers below all others, where nobody's live position is.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT    NOT NULL UNIQUE,
    type    TEXT    NOT NULL,
    user    TEXT    NOT NULL,
    subject TEXT,
    time    INTEGER NOT NULL, -- milliseconds since 1970-01-01T00:00:00Z
    data    TEXT    NOT NULL  -- a JSON object
) STRICT;

CREATE INDEX events_by_user ON events (user, seq);
CREATE INDEX events_of_batches ON events (user, seq) WHERE type = 'landfall.batch.quiet';

-- Sinks that were ever configured: they are told what came after their first start.
CREATE TABLE sinks (
    name  TEXT    PRIMARY KEY,
    since INTEGER NOT NULL -- seq of the last event before
) STRICT, WITHOUT ROWID;

-- One lane for each sink and supplier, and one for each replay: events are told in order within a lane.
CREATE TABLE lanes (
    lane          INTEGER PRIMARY KEY AUTOINCREMENT,
    sink          TEXT    NOT NULL,
    user          TEXT    NOT NULL,
    kind          TEXT    NOT NULL CHECK (kind IN ('live', 'replay', 'parked')),
    position      INTEGER NOT NULL,           -- seq of the last event that is done
    until         INTEGER,                    -- seq of the last event of a replay
    attempts      INTEGER NOT NULL DEFAULT 0, -- failed so far, for the event after position
    failing_since INTEGER,                    -- milliseconds since 1970-01-01T00:00:00Z
    next_attempt  INTEGER,                    -- the same
    error         TEXT
) STRICT;

CREATE UNIQUE INDEX lanes_live ON lanes (sink, user) WHERE kind = 'live';

-- Events that a sink did not take for so long that those behind them were let past.
CREATE TABLE parked (
    sink     TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    user     TEXT    NOT NULL,
    since    INTEGER NOT NULL, -- milliseconds since 1970-01-01T00:00:00Z
    attempts INTEGER NOT NULL,
    error    TEXT    NOT NULL,
    PRIMARY KEY (sink, seq)
) STRICT, WITHOUT ROWID;
