-- Times are milliseconds since the Unix epoch; costs are milliseconds of a device; tags are microseconds of
-- weighted device time. Nothing here is ever updated to forget what happened, only states move forward.

CREATE TABLE member (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    -- Finish tag of the member's last enqueued job (start-time fair queueing).
    last_finish INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE token (
    hash       TEXT PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('member', 'worker')),
    subject    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE TABLE channel (
    id       TEXT PRIMARY KEY,
    title    TEXT NOT NULL,
    topic    TEXT NOT NULL,
    position INTEGER NOT NULL
) STRICT;

CREATE TABLE model (
    digest     TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    spec       TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    -- Measured cost over announced cost, an exponential moving average.
    cost_ratio REAL NOT NULL DEFAULT 1.0
) STRICT;
CREATE INDEX model_by_name ON model (name, last_seen);

CREATE TABLE worker (
    name      TEXT PRIMARY KEY,
    seen_at   INTEGER NOT NULL,
    -- Failures in a row, and until when the worker is given nothing because of them.
    failures  INTEGER NOT NULL DEFAULT 0,
    set_aside_until INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE worker_model (
    worker TEXT NOT NULL REFERENCES worker (name) ON DELETE CASCADE,
    model  TEXT NOT NULL REFERENCES model (digest),
    PRIMARY KEY (worker, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE recipe (
    id         TEXT PRIMARY KEY,
    body       TEXT NOT NULL,
    model      TEXT NOT NULL REFERENCES model (digest),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE recipe_parent (
    child    TEXT NOT NULL REFERENCES recipe (id),
    position INTEGER NOT NULL,
    parent   TEXT NOT NULL REFERENCES recipe (id),
    idx      INTEGER NOT NULL,
    made_by  TEXT NOT NULL,
    PRIMARY KEY (child, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX recipe_children ON recipe_parent (parent);

CREATE TABLE job (
    id            TEXT PRIMARY KEY,
    recipe        TEXT NOT NULL REFERENCES recipe (id),
    model         TEXT NOT NULL REFERENCES model (digest),
    member        TEXT NOT NULL REFERENCES member (id),
    channel       TEXT NOT NULL REFERENCES channel (id),
    state         TEXT NOT NULL CHECK (state IN
                  ('queued', 'leased', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    lane          INTEGER NOT NULL,
    start_tag     INTEGER NOT NULL,
    finish_tag    INTEGER NOT NULL,
    estimate_ms   INTEGER NOT NULL,
    attempt       INTEGER NOT NULL DEFAULT 0,
    not_before    INTEGER NOT NULL DEFAULT 0,
    expires_at    INTEGER NOT NULL,
    worker        TEXT,
    lease_until   INTEGER,
    created_at    INTEGER NOT NULL,
    leased_at     INTEGER,
    finished_at   INTEGER,
    cost_ms       INTEGER,
    reason        TEXT
) STRICT;
CREATE INDEX job_queue ON job (lane, start_tag, id) WHERE state = 'queued';
CREATE INDEX job_leases ON job (lease_until) WHERE state IN ('leased', 'running');
CREATE INDEX job_live_by_channel ON job (channel) WHERE state IN ('queued', 'leased', 'running');
CREATE INDEX job_live_by_member ON job (member) WHERE state IN ('queued', 'leased', 'running');
CREATE INDEX job_by_recipe ON job (recipe);

CREATE TABLE output (
    job        TEXT NOT NULL REFERENCES job (id),
    attempt    INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    blob       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    width      INTEGER,
    height     INTEGER,
    thumbnail  TEXT,
    PRIMARY KEY (job, attempt, idx)
) STRICT, WITHOUT ROWID;

-- The quota ledger. Only ever added to; what is left is the allowance plus the sum of the period.
CREATE TABLE ledger (
    id     INTEGER PRIMARY KEY,
    member TEXT NOT NULL REFERENCES member (id),
    period INTEGER NOT NULL,
    job    TEXT REFERENCES job (id),
    kind   TEXT NOT NULL CHECK (kind IN ('reserve', 'settle', 'refund', 'grant')),
    gpu_ms INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    UNIQUE (job, kind)
) STRICT;
CREATE INDEX ledger_by_member ON ledger (member, period);

CREATE TABLE post (
    id         INTEGER PRIMARY KEY,
    job        TEXT NOT NULL UNIQUE REFERENCES job (id),
    channel    TEXT NOT NULL REFERENCES channel (id),
    at         INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE INDEX post_by_channel ON post (channel, id) WHERE deleted_at IS NULL;

CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY,
    job          TEXT NOT NULL REFERENCES job (id),
    surface      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at      INTEGER NOT NULL,
    delivered_at INTEGER,
    UNIQUE (job, surface)
) STRICT;
CREATE INDEX outbox_due ON outbox (next_at) WHERE delivered_at IS NULL;

-- Virtual time of the fair queue: the start tag of the job most recently put into service.
CREATE TABLE fairness (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    virtual_time INTEGER NOT NULL
) STRICT;
INSERT INTO fairness VALUES (1, 0);
