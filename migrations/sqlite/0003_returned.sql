-- Leases of the job that were given back unused; they are no attempts at it.
ALTER TABLE job ADD COLUMN returned INTEGER NOT NULL DEFAULT 0;
