-- Verification codes: the key that a user's app shares, and the last code that was used.

ALTER TABLE users ADD COLUMN totp_secret TEXT;       -- base32

-- Apart from users, because a login is no change of the user.
CREATE TABLE user_totp_steps (
    user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    step    INTEGER NOT NULL                         -- RFC 6238's T; no code of this step or an earlier one counts again
) STRICT;
