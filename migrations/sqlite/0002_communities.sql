-- Several communities on one hub: their channels, what their moderators set, and what members prefer.

CREATE TABLE community (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- When its people were first told how this works.
    guided_at  INTEGER
) STRICT;
INSERT INTO community (id, name, created_at) VALUES ('web', 'Web', 0);

ALTER TABLE channel ADD COLUMN surface TEXT NOT NULL DEFAULT 'web';
ALTER TABLE channel ADD COLUMN community TEXT NOT NULL DEFAULT 'web';
ALTER TABLE channel ADD COLUMN mature INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channel ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;

-- Shown to its member alone: asked for privately, or taken down.
ALTER TABLE job ADD COLUMN private INTEGER NOT NULL DEFAULT 0;
-- The surface's own note on how to answer.
ALTER TABLE job ADD COLUMN reply TEXT;
-- Allowance under which it was admitted; settling goes by it. Missing in jobs from before.
ALTER TABLE job ADD COLUMN allowance_ms INTEGER;

CREATE TABLE role_allowance (
    community TEXT NOT NULL,
    role      TEXT NOT NULL,
    gpu_ms    INTEGER NOT NULL,
    PRIMARY KEY (community, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE restriction (
    community TEXT NOT NULL,
    member    TEXT NOT NULL REFERENCES member (id),
    kind      TEXT NOT NULL CHECK (kind IN ('ban', 'timeout')),
    until     INTEGER,
    reason    TEXT NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (community, member, kind),
    CHECK ((kind = 'ban') = (until IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE blocked_word (
    community TEXT NOT NULL,
    word      TEXT NOT NULL,
    PRIMARY KEY (community, word)
) STRICT, WITHOUT ROWID;

CREATE TABLE paused_model (
    community TEXT NOT NULL,
    model     TEXT NOT NULL,
    PRIMARY KEY (community, model)
) STRICT, WITHOUT ROWID;

-- Where prompts are taken; everywhere in a community that has no row.
CREATE TABLE open_channel (
    community TEXT NOT NULL,
    channel   TEXT NOT NULL,
    PRIMARY KEY (community, channel)
) STRICT, WITHOUT ROWID;

-- Only ever added to.
CREATE TABLE audit (
    id        INTEGER PRIMARY KEY,
    community TEXT NOT NULL,
    actor     TEXT NOT NULL REFERENCES member (id),
    act       TEXT NOT NULL,
    subject   TEXT NOT NULL,
    detail    TEXT NOT NULL,
    at        INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_by_community ON audit (community, id);

CREATE TABLE preference (
    member   TEXT PRIMARY KEY REFERENCES member (id),
    defaults TEXT NOT NULL,
    remix    INTEGER NOT NULL
) STRICT;
