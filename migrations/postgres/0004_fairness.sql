-- Fair shares of communities and their members, and when workers change models.

-- What a member asks for in a community: a flow of start-time fair queueing.
CREATE TABLE flow (
    community   TEXT NOT NULL,
    member      TEXT NOT NULL REFERENCES member (id),
    -- Share relative to the community's other members.
    weight      DOUBLE PRECISION NOT NULL,
    -- Sum of the weights of the community's waiting members, by which the tags of this flow were made.
    crowd       DOUBLE PRECISION NOT NULL,
    -- Tags of its last enqueued job.
    last_start  BIGINT NOT NULL,
    last_finish BIGINT NOT NULL,
    PRIMARY KEY (community, member)
) WITH (fillfactor = 70);
-- A member waits while its last start tag lies ahead of virtual time.
CREATE INDEX flow_waiting ON flow (community, last_start, weight);
INSERT INTO flow (community, member, weight, crowd, last_start, last_finish)
    SELECT community, member, 1.0, 1.0, MAX(start_tag), MAX(finish_tag)
    FROM job JOIN channel ON channel.id = job.channel WHERE state = 'queued' GROUP BY community, member;
ALTER TABLE member DROP COLUMN last_finish;

-- Start tag of the next job of a member who has none waiting.
ALTER TABLE community ADD COLUMN next_tag BIGINT NOT NULL DEFAULT 0;

-- When it last left work that it had in memory for a model that it had to load.
ALTER TABLE worker ADD COLUMN swapped_at BIGINT NOT NULL DEFAULT 0;

-- The first job of a model, however many of other models are before it.
CREATE INDEX job_queue_by_model ON job (model, lane, start_tag, id) WHERE state = 'queued';
