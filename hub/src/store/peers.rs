//! What hubs on one database share: messages, which workers are there, and how far jobs are. On SQLite a hub is alone.

use std::collections::HashSet;

use bytes::Bytes;
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::{
    Present, Store, StoreError,
    db::{Pool, all, execute, on, optional},
    read_json,
};
use crate::{canonical, hub::Live, seam::Millis};

/// A step may hold several workers' rows here, which no other does, so it waits for none: who is written to by another step
/// at this moment is seen the next time.
const SEEN: &str = "
    UPDATE worker SET seen_at = MAX(worker.seen_at, CAST(seen.value ->> 'seen_at' AS BIGINT)),
        loaded = seen.value ->> 'loaded'
    FROM json_each($1) AS seen,
        (SELECT name FROM worker WHERE name IN (SELECT value ->> 'name' FROM json_each($1))
         FOR NO KEY UPDATE SKIP LOCKED) AS free
    WHERE worker.name = free.name AND worker.name = seen.value ->> 'name'";

/// The channel of the messages.
const CHANNEL: &str = "riff";

/// Messages of all hubs, this one's too.
pub struct Wire(PgListener);

impl Wire {
    /// The next message. Nothing, if some may have been missed.
    pub async fn next(&mut self) -> Result<Option<String>, StoreError> {
        Ok(self.0.try_recv().await?.map(|message| message.payload().to_owned()))
    }
}

impl Store {
    /// Listens to the other hubs. Nothing, where there can be none.
    pub async fn listen(&self) -> Result<Option<Wire>, StoreError> {
        let Pool::Postgres(pool) = &self.write else {
            return Ok(None);
        };
        // A connection that listens must not go back among those of the steps, which would hear what is not for them.
        let own = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let own = own.connect_with((*pool.connect_options()).clone()).await?;
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Wire(listener)))
    }

    /// Sends a message of less than 8,000 bytes to all hubs. No step waits for it: a transaction that notifies waits for
    /// every other that does.
    pub async fn notify(&self, message: &str) -> Result<(), StoreError> {
        execute!(self.write, "SELECT pg_notify($1, $2)", CHANNEL, message)?;
        Ok(())
    }

    /// Writes down when these workers were last seen, with what is in their memory, and gives all that were seen since then.
    pub async fn share_presence(&self, mine: &[Present], since: Millis) -> Result<Vec<Present>, StoreError> {
        let rows: Vec<serde_json::Value> = mine
            .iter()
            .map(|worker| {
                let loaded = canonical::to_string(&worker.loaded);
                serde_json::json!({"name": worker.worker, "seen_at": worker.seen_at, "loaded": loaded})
            })
            .collect();
        execute!(self.write, SEEN, super::list(&rows))?;
        let rows: Vec<(String, Millis, String)> =
            all!(self.read, "SELECT name, seen_at, loaded FROM worker WHERE seen_at >= $1", since)?;
        let present = |(worker, seen_at, loaded): (String, Millis, String)| {
            let loaded = read_json("list of versions", &loaded)?;
            Ok(Present { worker, seen_at, loaded, loading: HashSet::new() })
        };
        rows.into_iter().map(present).collect()
    }

    /// A worker has left.
    pub async fn left(&self, worker: &str) -> Result<(), StoreError> {
        execute!(self.write, "UPDATE worker SET seen_at = 0, loaded = '[]' WHERE name = $1", worker)?;
        Ok(())
    }

    /// Tells the other hubs how far a job is.
    pub async fn put_live(&self, job: &str, live: &Live) -> Result<(), StoreError> {
        let (preview, number) =
            live.preview.as_ref().map(|(bytes, number)| (&bytes[..], i64::from(*number))).unzip();
        execute!(
            self.write,
            "INSERT INTO live (job, progress, preview, number, text) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (job) DO UPDATE SET progress = $2, preview = $3, number = $4, text = $5",
            job,
            live.progress,
            preview,
            number,
            &live.text
        )?;
        Ok(())
    }

    /// How far a job is that runs at a worker of another hub.
    pub async fn live(&self, job: &str) -> Result<Option<Live>, StoreError> {
        type Row = (f32, Option<Vec<u8>>, Option<i64>, Option<String>);
        let row: Option<Row> =
            optional!(self.read, "SELECT progress, preview, number, text FROM live WHERE job = $1", job)?;
        Ok(row.map(|(progress, preview, number, text)| Live {
            progress,
            preview: preview.map(Bytes::from).zip(number.map(|number| number as u32)),
            text,
        }))
    }
}
