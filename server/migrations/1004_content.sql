-- Which landings of a user have the same content: the first eight bytes of the digest find them, the digest decides.
ALTER TABLE receipts ADD COLUMN content INTEGER;
-- The path that the same content landed under before, if it did.
ALTER TABLE receipts ADD COLUMN same_as TEXT;
CREATE INDEX receipts_by_content ON receipts (content) WHERE content IS NOT NULL;
