WITH next AS (SELECT id FROM raw_job WHERE state = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
UPDATE raw_job SET state = 'running' FROM next WHERE raw_job.id = next.id RETURNING raw_job.id AS job \gset
UPDATE raw_job SET state = 'done' WHERE id = :job;
