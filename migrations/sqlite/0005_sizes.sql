-- Which jobs can run together, and which are too large for a worker.

-- Equal for jobs of a model that differ in nothing but prompt and seed. Empty in jobs from before.
ALTER TABLE job ADD COLUMN shape TEXT NOT NULL DEFAULT '';
-- How much is made: pixels of all pictures, or most tokens.
ALTER TABLE job ADD COLUMN amount INTEGER NOT NULL DEFAULT 0;

-- The least amount of a model for which a worker had too little memory.
CREATE TABLE shortage (
    worker TEXT NOT NULL REFERENCES worker (name) ON DELETE CASCADE,
    model  TEXT NOT NULL REFERENCES model (digest),
    amount INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (worker, model)
) STRICT, WITHOUT ROWID;
