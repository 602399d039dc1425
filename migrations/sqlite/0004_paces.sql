-- What the hub learns of each worker.

-- Models of a worker with the same pool share its jobs: how many of theirs run at once.
ALTER TABLE worker_model ADD COLUMN pool INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker_model ADD COLUMN jobs INTEGER NOT NULL DEFAULT 1;

-- How a worker runs a model, as moving averages.
CREATE TABLE pace (
    worker  TEXT NOT NULL REFERENCES worker (name) ON DELETE CASCADE,
    model   TEXT NOT NULL REFERENCES model (digest),
    -- Measured cost over announced cost.
    ratio   REAL NOT NULL,
    -- Measured time to load the weights; missing until they were loaded for a job.
    load_ms INTEGER,
    PRIMARY KEY (worker, model)
) STRICT, WITHOUT ROWID;
