-- Who may come in, what they show to be let in, what they are granted.

CREATE TABLE users (
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT: a number is never used again
    name          TEXT    NOT NULL,
    home          TEXT    NOT NULL,
    email         TEXT,
    disabled      INTEGER NOT NULL DEFAULT 0,
    expires_at    INTEGER,                           -- seconds since 1970
    password_hash TEXT,
    granted       TEXT    NOT NULL DEFAULT '{}',     -- JSON: the user's own Grant
    source        TEXT    NOT NULL CHECK (source IN ('database', 'config')),
    created_at    INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT;

CREATE UNIQUE INDEX users_name ON users (name);
-- Names that equal but for case are told apart by no file system that ignores case, and by few people.
CREATE UNIQUE INDEX users_name_caseless ON users (name COLLATE NOCASE);

CREATE TABLE user_keys (
    id          INTEGER PRIMARY KEY,
    user_id     INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    public_key  TEXT    NOT NULL,                    -- type and base64, one space between
    fingerprint TEXT    NOT NULL,                    -- SHA256:...
    comment     TEXT    NOT NULL DEFAULT '',
    added_at    INTEGER NOT NULL DEFAULT (unixepoch()),
    UNIQUE (user_id, fingerprint)
) STRICT;

CREATE TABLE user_groups (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT NOT NULL,
    granted TEXT NOT NULL DEFAULT '{}'               -- JSON: the members' Grant
) STRICT;

CREATE UNIQUE INDEX user_groups_name ON user_groups (name);
CREATE UNIQUE INDEX user_groups_name_caseless ON user_groups (name COLLATE NOCASE);

CREATE TABLE group_members (
    user_id  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,                       -- the first group that has a value wins
    group_id INTEGER NOT NULL REFERENCES user_groups (id),
    PRIMARY KEY (user_id, position),
    UNIQUE (user_id, group_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX group_members_group ON group_members (group_id);

-- Apart from users, because a login is no change of the user.
CREATE TABLE user_logins (
    user_id  INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL,                       -- seconds since 1970
    protocol TEXT    NOT NULL,
    peer     TEXT    NOT NULL
) STRICT;

-- One number that grows with every change of the tables above, whoever makes it: a running server compares it
-- instead of reading every user again when somebody else wrote to the database.
CREATE TABLE users_changed (generation INTEGER NOT NULL) STRICT;
INSERT INTO users_changed VALUES (1);

CREATE TRIGGER users_insert AFTER INSERT ON users BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER users_update AFTER UPDATE ON users BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER users_delete AFTER DELETE ON users BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER keys_insert AFTER INSERT ON user_keys BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER keys_update AFTER UPDATE ON user_keys BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER keys_delete AFTER DELETE ON user_keys BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER groups_insert AFTER INSERT ON user_groups BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER groups_update AFTER UPDATE ON user_groups BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER groups_delete AFTER DELETE ON user_groups BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER members_insert AFTER INSERT ON group_members BEGIN UPDATE users_changed SET generation = generation + 1; END;
CREATE TRIGGER members_delete AFTER DELETE ON group_members BEGIN UPDATE users_changed SET generation = generation + 1; END;
