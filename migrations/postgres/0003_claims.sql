-- What one hub of several does for all, such as a shard of a gateway, until then.
CREATE TABLE claim (
    what   TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until  BIGINT NOT NULL
) WITH (fillfactor = 50);
