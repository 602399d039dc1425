-- The surface's own name of the request that a job came from, on the first job of it: a request that arrives again makes nothing.
ALTER TABLE job ADD COLUMN request TEXT;
CREATE UNIQUE INDEX job_by_request ON job (request) WHERE request IS NOT NULL;
