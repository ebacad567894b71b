-- The ledger: one row for each upload that landed, was refused, or is suspended; and the intents that a crash may leave.

-- seq grows with every change, so that a reader can follow; an upload that is resumed replaces its row.
CREATE TABLE receipts (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT    NOT NULL UNIQUE,
    user           TEXT    NOT NULL,
    path           TEXT    NOT NULL,
    size           INTEGER NOT NULL,
    sha256         TEXT,
    protocol       TEXT    NOT NULL,
    client_address TEXT    NOT NULL,
    started        INTEGER NOT NULL, -- milliseconds since 1970-01-01T00:00:00Z
    landed         INTEGER,          -- the same; only where status is landed
    changed        INTEGER NOT NULL, -- the same; when this row came to be
    status         TEXT    NOT NULL CHECK (status IN ('landed', 'refused', 'suspended')),
    reason         TEXT
) STRICT;

CREATE INDEX receipts_by_user ON receipts (user, seq);
CREATE INDEX receipts_by_status ON receipts (status, seq);
-- Every landing asks for what was suspended under its name: few rows among many.
CREATE INDEX receipts_suspended ON receipts (user, path) WHERE status = 'suspended';
CREATE INDEX receipts_by_changed ON receipts (changed);

-- Written before a name becomes visible, removed by the transaction that writes the receipt.
CREATE TABLE intents (
    id             TEXT    PRIMARY KEY,
    user           TEXT    NOT NULL,
    path           TEXT    NOT NULL,
    store_path     TEXT    NOT NULL,
    size           INTEGER NOT NULL,
    sha256         TEXT    NOT NULL,
    protocol       TEXT    NOT NULL,
    client_address TEXT    NOT NULL,
    started        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Files that landed under a client-side temporary name: what the rename that delivers them needs for its receipt.
CREATE TABLE temporaries (
    store_path     TEXT    PRIMARY KEY,
    id             TEXT    NOT NULL,
    size           INTEGER NOT NULL,
    inode          INTEGER NOT NULL,
    sha256         TEXT    NOT NULL,
    started        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX temporaries_by_id ON temporaries (id);

-- Uploads that have been on their way for a while: what a suspended row needs should the server be killed.
CREATE TABLE under_way (
    id             TEXT    PRIMARY KEY,
    protocol       TEXT    NOT NULL,
    client_address TEXT    NOT NULL,
    started        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
