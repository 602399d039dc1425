-- Of a model that its worker serves as overflow: the expected milliseconds, by the others, beyond which it takes jobs.
ALTER TABLE worker_model ADD COLUMN overflow_after_ms INTEGER;
