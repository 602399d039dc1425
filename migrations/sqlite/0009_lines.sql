-- What is looked for again and again is found without what is over: it is few rows of many.

DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (surface, id) WHERE delivered_at IS NULL;
CREATE INDEX job_live_noted ON job (id, channel) WHERE reply IS NOT NULL AND state IN ('queued', 'leased', 'running');
CREATE INDEX job_expiry ON job (expires_at) WHERE state = 'queued';

-- A member's sum is read from the index alone.
DROP INDEX ledger_by_member;
CREATE INDEX ledger_by_member ON ledger (member, period, gpu_ms);
