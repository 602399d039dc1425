//! How an interaction reaches the bot: over the gateway, or posted and signed to its endpoint.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    Discord, PATIENCE,
    interactions::{First, Interaction},
    multipart::Payload,
    shared::Shared,
};

/// An interaction as it was posted: what somebody would need to post it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub body: String,
    pub timestamp: String,
    /// Of timestamp and body, in hexadecimal digits.
    pub signature: String,
}

/// Signs as Discord does: <https://discord.com/developers/docs/interactions/overview#setting-up-an-endpoint>.
pub(crate) fn sign(key: &SigningKey, timestamp: &str, body: &str) -> String {
    hex::encode(key.sign(format!("{timestamp}{body}").as_bytes()).to_bytes())
}

impl Shared {
    /// Hands an interaction to the bot and waits for its first response.
    pub(crate) async fn interact(
        self: &Arc<Self>,
        mut interaction: Interaction,
        token: String,
        payload: Value,
    ) -> anyhow::Result<First> {
        let endpoint = self.endpoint.lock().clone();
        let guild = interaction.guild;
        if endpoint.is_none() {
            self.wait("a gateway session that would hear of it", |world| {
                world.sessions.listens(guild).then_some(())
            })
            .await?;
        }
        let (waiter, mut answered) = oneshot::channel();
        interaction.waiter = Some(waiter);
        let now = self.now_ms();
        interaction.created_ms = now;
        let wait = self.limits.lock().first_response;
        let deadline = now + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.change(|world, _| {
            world.interactions.insert(token.clone(), interaction);
            world.interaction_order.push_back(token.clone());
            world.forget_interactions();
            if endpoint.is_none() {
                world.tell("INTERACTION_CREATE", guild, &payload);
            }
        });
        let posted = async {
            if let Some(url) = &endpoint {
                self.post_it(url, &token, &payload).await?;
            }
            std::future::pending::<anyhow::Result<()>>().await
        };
        tokio::select! {
            biased;
            first = &mut answered => Ok(first.context("the interaction was forgotten")?),
            error = posted => Err(error.err().context("the delivery ended")?),
            () = self.past(deadline) => {
                // The last moment's answer counts.
                if let Ok(first) = answered.try_recv() {
                    return Ok(first);
                }
                let refused = self.world.lock().interactions.get(&token).map(|known| known.refused.join("; "));
                bail!("the application did not respond within {wait:?}; refused: {:?}", refused.unwrap_or_default())
            }
        }
    }

    /// Posts an interaction to an endpoint and takes the callback that may be in the answer.
    async fn post_it(&self, url: &str, token: &str, payload: &Value) -> anyhow::Result<()> {
        let body = payload.to_string();
        let timestamp = (self.now_ms() / 1000).to_string();
        let signature = sign(&self.key, &timestamp, &body);
        let delivery = Delivery { body, timestamp, signature };
        *self.last_delivery.lock() = Some(delivery.clone());
        self.touch();
        let (status, text) = self.post(url, &delivery).await?;
        if status == 202 && text.is_empty() {
            return Ok(());
        }
        ensure!(status == 200, "the endpoint answered {status}: {text}");
        let json: Value =
            serde_json::from_str(&text).with_context(|| format!("the endpoint answered {text}"))?;
        let limits = self.limits.lock().clone();
        let callback = "/interactions/{interaction_id}/{interaction_token}/callback";
        if let Some(problem) = crate::openapi::check("POST", callback, &json) {
            self.violation(crate::ViolationKind::Body, "POST", url, problem.clone(), &json);
            bail!("the endpoint answered with {problem}");
        }
        let creates = [(4, true), (7, false)].into_iter().find(|(kind, _)| json["type"] == *kind);
        if let Some(problem) =
            creates.and_then(|(_, creates)| crate::edit::could_ping(&json["data"], creates))
        {
            self.violation(crate::ViolationKind::Mentions, "POST", url, problem.to_owned(), &json);
        }
        let payload = Payload { json, files: Vec::new() };
        let answered = self.change(|world, now| world.respond(now, &limits, token, &payload));
        answered
            .map(|_| ())
            .map_err(|refused| anyhow::anyhow!("the endpoint's answer was refused: {refused}"))
    }

    /// Posts something to an endpoint as it is.
    pub(crate) async fn post(&self, url: &str, delivery: &Delivery) -> anyhow::Result<(u16, String)> {
        let request = self
            .http
            .post(url)
            .timeout(PATIENCE.min(Duration::from_secs(60)))
            .header("content-type", "application/json")
            .header("x-signature-ed25519", &delivery.signature)
            .header("x-signature-timestamp", &delivery.timestamp)
            .body(delivery.body.clone());
        let response = request.send().await.with_context(|| format!("posting to {url}"))?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Does what Discord does before it takes an endpoint: a PING must be answered with a PONG, and one that is signed by
    /// somebody else with 401.
    pub(crate) async fn verify(&self, url: &str) -> anyhow::Result<()> {
        let application = self.world.lock().application.to_string();
        let ping = json!({"id": "1", "application_id": application, "type": 1, "token": "ping", "version": 1,
            "entitlements": [], "user": null});
        let (body, timestamp) = (ping.to_string(), (self.now_ms() / 1000).to_string());
        let signature = sign(&self.key, &timestamp, &body);
        let good = Delivery { body, timestamp, signature };
        let (status, text) = self.post(url, &good).await?;
        let pong = serde_json::from_str::<Value>(&text).is_ok_and(|json| json["type"] == 1);
        ensure!(status == 200 && pong, "a PING was answered {status}: {text}");
        let stranger = SigningKey::from_bytes(&[7; 32]);
        let forged = Delivery { signature: sign(&stranger, &good.timestamp, &good.body), ..good };
        let (status, text) = self.post(url, &forged).await?;
        ensure!(status == 401, "a forged PING was answered {status}: {text}");
        Ok(())
    }
}

impl Discord {
    /// From now on, interactions are posted there.
    pub fn deliver_by_http(&self, url: &str) {
        *self.shared.endpoint.lock() = Some(url.to_owned());
    }

    /// From now on, interactions go over the gateway.
    pub fn deliver_by_gateway(&self) {
        *self.shared.endpoint.lock() = None;
    }

    /// Looks at an endpoint as Discord does before it takes it: PING is answered, a forged one refused.
    pub async fn verify_endpoint(&self, url: &str) -> anyhow::Result<()> {
        self.shared.verify(url).await
    }

    /// The last interaction that was posted.
    pub fn last_delivery(&self) -> Option<Delivery> {
        self.shared.last_delivery.lock().clone()
    }

    /// Waits until an interaction was posted.
    pub async fn delivered(&self) -> anyhow::Result<Delivery> {
        self.shared.wait("an interaction to be posted", |_| self.last_delivery()).await
    }

    /// Signs a body at a moment, in seconds since 1970.
    pub fn sign(&self, body: &str, seconds: u64) -> Delivery {
        let timestamp = seconds.to_string();
        Delivery { signature: sign(&self.shared.key, &timestamp, body), body: body.to_owned(), timestamp }
    }

    /// Posts something as it is, and gives status and body of the answer.
    pub async fn post(&self, url: &str, delivery: &Delivery) -> anyhow::Result<(u16, String)> {
        self.shared.post(url, delivery).await
    }
}
