-- Times are milliseconds since the Unix epoch; costs are milliseconds of a device; tags are microseconds of weighted device
-- time. Nothing here is ever updated to forget what happened, only states move forward.

CREATE TABLE community (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When its people were first told how this works.
    guided_at  BIGINT
);
INSERT INTO community (id, name, created_at) VALUES ('web', 'Web', 0);

CREATE TABLE member (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    -- Finish tag of the member's last enqueued job (start-time fair queueing).
    last_finish BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

CREATE TABLE token (
    hash       TEXT PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('member', 'worker')),
    subject    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX token_by_subject ON token (subject);

CREATE TABLE channel (
    id        TEXT PRIMARY KEY,
    title     TEXT NOT NULL,
    topic     TEXT NOT NULL,
    position  BIGINT NOT NULL,
    surface   TEXT NOT NULL DEFAULT 'web',
    community TEXT NOT NULL DEFAULT 'web',
    mature    BOOLEAN NOT NULL DEFAULT FALSE,
    paused    BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE model (
    digest     TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    spec       TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL,
    -- Measured cost over announced cost, an exponential moving average.
    cost_ratio DOUBLE PRECISION NOT NULL DEFAULT 1.0
) WITH (fillfactor = 50);
CREATE INDEX model_by_name ON model (name, last_seen);

CREATE TABLE worker (
    name            TEXT PRIMARY KEY,
    seen_at         BIGINT NOT NULL,
    -- The versions that it had in memory then: a JSON list.
    loaded          TEXT NOT NULL DEFAULT '[]',
    -- Failures in a row, and until when the worker is given nothing because of them.
    failures        BIGINT NOT NULL DEFAULT 0,
    set_aside_until BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE worker_model (
    worker            TEXT NOT NULL REFERENCES worker (name) ON DELETE CASCADE,
    model             TEXT NOT NULL REFERENCES model (digest),
    -- Models of a worker with the same pool share its jobs: how many of theirs run at once.
    pool              BIGINT NOT NULL DEFAULT 0,
    jobs              BIGINT NOT NULL DEFAULT 1,
    -- Where it is served as overflow: the expected milliseconds, by the others, beyond which it takes jobs.
    overflow_after_ms BIGINT,
    PRIMARY KEY (worker, model)
);
CREATE INDEX worker_model_by_model ON worker_model (model);

-- How a worker runs a model, as moving averages.
CREATE TABLE pace (
    worker  TEXT NOT NULL REFERENCES worker (name) ON DELETE CASCADE,
    model   TEXT NOT NULL REFERENCES model (digest),
    -- Measured cost over announced cost.
    ratio   DOUBLE PRECISION NOT NULL,
    -- Measured time to load the weights; missing until they were loaded for a job.
    load_ms BIGINT,
    PRIMARY KEY (worker, model)
) WITH (fillfactor = 50);

-- The least amount of a model for which a worker had too little memory.
CREATE TABLE shortage (
    worker TEXT NOT NULL REFERENCES worker (name) ON DELETE CASCADE,
    model  TEXT NOT NULL REFERENCES model (digest),
    amount BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (worker, model)
);

CREATE TABLE recipe (
    id         TEXT PRIMARY KEY,
    body       TEXT NOT NULL,
    model      TEXT NOT NULL REFERENCES model (digest),
    created_at BIGINT NOT NULL
);

CREATE TABLE recipe_parent (
    child    TEXT NOT NULL REFERENCES recipe (id),
    position BIGINT NOT NULL,
    parent   TEXT NOT NULL REFERENCES recipe (id),
    idx      BIGINT NOT NULL,
    made_by  TEXT NOT NULL,
    PRIMARY KEY (child, position)
);
CREATE INDEX recipe_children ON recipe_parent (parent);

CREATE TABLE job (
    id           TEXT COLLATE "C" PRIMARY KEY,
    recipe       TEXT NOT NULL REFERENCES recipe (id),
    model        TEXT NOT NULL REFERENCES model (digest),
    member       TEXT NOT NULL REFERENCES member (id),
    channel      TEXT NOT NULL REFERENCES channel (id),
    state        TEXT NOT NULL CHECK (state IN
                 ('queued', 'leased', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    lane         BIGINT NOT NULL,
    start_tag    BIGINT NOT NULL,
    finish_tag   BIGINT NOT NULL,
    estimate_ms  BIGINT NOT NULL,
    attempt      BIGINT NOT NULL DEFAULT 0,
    -- Leases that were given back unused; they are no attempts at it.
    returned     BIGINT NOT NULL DEFAULT 0,
    not_before   BIGINT NOT NULL DEFAULT 0,
    expires_at   BIGINT NOT NULL,
    worker       TEXT,
    lease_until  BIGINT,
    created_at   BIGINT NOT NULL,
    leased_at    BIGINT,
    finished_at  BIGINT,
    cost_ms      BIGINT,
    reason       TEXT,
    -- Shown to its member alone: asked for privately, or taken down.
    private      BOOLEAN NOT NULL DEFAULT FALSE,
    -- The surface's own note on how to answer.
    reply        TEXT,
    -- Allowance under which it was admitted; settling goes by it.
    allowance_ms BIGINT,
    -- Equal for jobs of a model that differ in nothing but prompt and seed.
    shape        TEXT NOT NULL DEFAULT '',
    -- How much is made: pixels of all pictures, or most tokens.
    amount       BIGINT NOT NULL DEFAULT 0
-- A job is rewritten some four times, and most jobs are done: the line is kept short of dead entries.
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX job_queue ON job (lane, start_tag, id) WHERE state = 'queued';
CREATE INDEX job_expiry ON job (expires_at) WHERE state = 'queued';
CREATE INDEX job_leases ON job (lease_until) WHERE state IN ('leased', 'running');
CREATE INDEX job_live_by_channel ON job (channel) WHERE state IN ('queued', 'leased', 'running');
CREATE INDEX job_live_by_member ON job (member) WHERE state IN ('queued', 'leased', 'running');
CREATE INDEX job_live_noted ON job (id, channel) WHERE reply IS NOT NULL AND state IN ('queued', 'leased', 'running');
CREATE INDEX job_by_recipe ON job (recipe);

CREATE TABLE output (
    job        TEXT NOT NULL COLLATE "C" REFERENCES job (id),
    attempt    BIGINT NOT NULL,
    idx        BIGINT NOT NULL,
    blob       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    width      BIGINT,
    height     BIGINT,
    -- What the safety classifier saw: a JSON list, empty where there was nothing to see, missing where none looked.
    safety     TEXT,
    PRIMARY KEY (job, attempt, idx)
);
CREATE INDEX output_by_blob ON output (blob);

-- The quota ledger. Only ever added to; what is left is the allowance plus the sum of the period.
CREATE TABLE ledger (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member TEXT NOT NULL REFERENCES member (id),
    period BIGINT NOT NULL,
    job    TEXT COLLATE "C" REFERENCES job (id),
    kind   TEXT NOT NULL CHECK (kind IN ('reserve', 'settle', 'refund', 'grant')),
    gpu_ms BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    UNIQUE (job, kind)
);
CREATE INDEX ledger_by_member ON ledger (member, period) INCLUDE (gpu_ms);

CREATE TABLE post (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job        TEXT NOT NULL COLLATE "C" UNIQUE REFERENCES job (id),
    channel    TEXT NOT NULL REFERENCES channel (id),
    at         BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX post_by_channel ON post (channel, id) WHERE deleted_at IS NULL;

CREATE TABLE outbox (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job          TEXT NOT NULL COLLATE "C" REFERENCES job (id),
    surface      TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0,
    -- Not tried before then: put off, or in the hands of a hub until then.
    next_at      BIGINT NOT NULL,
    delivered_at BIGINT,
    UNIQUE (job, surface)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_due ON outbox (surface, id) WHERE delivered_at IS NULL;

-- Virtual time of the fair queue: the start tag of the job most recently put into service. A sequence, because a row would
-- make every lease wait for the one before it to reach the disk.
CREATE SEQUENCE fairness_clock MINVALUE 0 START 0;
CREATE VIEW fairness AS SELECT last_value AS virtual_time FROM fairness_clock;

CREATE TABLE role_allowance (
    community TEXT NOT NULL,
    role      TEXT NOT NULL,
    gpu_ms    BIGINT NOT NULL,
    PRIMARY KEY (community, role)
);

CREATE TABLE restriction (
    community TEXT NOT NULL,
    member    TEXT NOT NULL REFERENCES member (id),
    kind      TEXT NOT NULL CHECK (kind IN ('ban', 'timeout')),
    until     BIGINT,
    reason    TEXT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (community, member, kind),
    CHECK ((kind = 'ban') = (until IS NULL))
);

CREATE TABLE blocked_word (
    community TEXT NOT NULL,
    word      TEXT NOT NULL,
    PRIMARY KEY (community, word)
);

CREATE TABLE paused_model (
    community TEXT NOT NULL,
    model     TEXT NOT NULL,
    PRIMARY KEY (community, model)
);

-- Where prompts are taken; everywhere in a community that has no row.
CREATE TABLE open_channel (
    community TEXT NOT NULL,
    channel   TEXT NOT NULL,
    PRIMARY KEY (community, channel)
);

-- Only ever added to.
CREATE TABLE audit (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    community TEXT NOT NULL,
    actor     TEXT NOT NULL REFERENCES member (id),
    act       TEXT NOT NULL,
    subject   TEXT NOT NULL,
    detail    TEXT NOT NULL,
    at        BIGINT NOT NULL
);
CREATE INDEX audit_by_community ON audit (community, id);

CREATE TABLE preference (
    member   TEXT PRIMARY KEY REFERENCES member (id),
    defaults TEXT NOT NULL,
    remix    BOOLEAN NOT NULL
);

-- How far running jobs are, for the hubs that their workers do not report to. Not worth logging.
CREATE UNLOGGED TABLE live (
    job      TEXT COLLATE "C" PRIMARY KEY,
    progress REAL NOT NULL,
    preview  BYTEA,
    number   BIGINT,
    text     TEXT
);
