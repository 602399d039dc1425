//! What Discord limits, as numbers that a test can change, and the meter that counts requests against the rates.
//! Sources: <https://discord.com/developers/docs/topics/rate-limits> and, for the rates of single routes, which Discord
//! does not document, what its headers say.

use std::{collections::HashMap, time::Duration};

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub limit: u32,
    pub per: Duration,
}

impl Window {
    pub const fn new(limit: u32, per: Duration) -> Self {
        Self { limit, per }
    }
}

/// Every limit of the fake.
#[derive(Debug, Clone)]
pub struct Limits {
    /// New messages, by channel.
    pub channel_post: Window,
    /// Edits, by channel.
    pub channel_patch: Window,
    /// Requests with an interaction's token, by token.
    pub webhook: Window,
    /// Every other route.
    pub other: Window,
    /// Everything that goes with the bot's token.
    pub global: Window,
    /// Largest file, in bytes.
    pub file_bytes: usize,
    /// How late the first response to an interaction may be.
    pub first_response: Duration,
    /// How long an interaction's token is good.
    pub token_life: Duration,
    /// New commands a day.
    pub commands_per_day: usize,
    /// How long a nonce is remembered.
    pub nonce_life: Duration,
    /// What the gateway asks for in its HELLO.
    pub heartbeat_interval: Duration,
    /// How many shards the gateway recommends.
    pub shards: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            channel_post: Window::new(5, Duration::from_secs(5)),
            channel_patch: Window::new(5, Duration::from_secs(5)),
            webhook: Window::new(5, Duration::from_secs(2)),
            other: Window::new(50, Duration::from_secs(1)),
            global: Window::new(50, Duration::from_secs(1)),
            file_bytes: 10 * 1024 * 1024,
            first_response: Duration::from_secs(3),
            token_life: Duration::from_secs(15 * 60),
            commands_per_day: 200,
            nonce_life: Duration::from_secs(5 * 60),
            heartbeat_interval: Duration::from_millis(41_250),
            shards: 1,
        }
    }
}

/// Which rate a route counts against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// None at all, not even the global one.
    Free,
    ChannelPost,
    ChannelPatch,
    Webhook,
    Other,
}

/// Where a bucket stands after a request.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub bucket: String,
    pub limit: u32,
    pub remaining: u32,
    pub reset_ms: u64,
    pub reset_after_ms: u64,
    /// Over the limit, and whether that is the global one.
    pub exceeded: Option<Scope>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scope {
    Bucket,
    Global,
}

/// Counts requests in fixed windows.
#[derive(Default)]
pub(crate) struct Meter {
    buckets: HashMap<String, Count>,
    global: Count,
    /// How many buckets there may be before those that have run out are forgotten.
    sweep_at: usize,
}

#[derive(Default, Clone, Copy)]
struct Count {
    used: u32,
    reset_ms: u64,
}

/// Least number of buckets that are swept.
const SWEEP_AT: usize = 4096;

impl Count {
    /// Whether one more fits.
    fn take(&mut self, window: Window, now_ms: u64) -> bool {
        if now_ms >= self.reset_ms {
            let per = u64::try_from(window.per.as_millis()).unwrap_or(u64::MAX);
            *self = Self { used: 0, reset_ms: now_ms.saturating_add(per) };
        }
        let fits = self.used < window.limit;
        self.used += u32::from(fits);
        fits
    }
}

impl Meter {
    /// Counts a request; `None` for one that no rate holds for.
    pub(crate) fn count(
        &mut self,
        limits: &Limits,
        rate: Rate,
        route: &str,
        major: &str,
        now_ms: u64,
    ) -> Option<Standing> {
        let window = match rate {
            Rate::Free => return None,
            Rate::ChannelPost => limits.channel_post,
            Rate::ChannelPatch => limits.channel_patch,
            Rate::Webhook => limits.webhook,
            Rate::Other => limits.other,
        };
        if self.buckets.len() > self.sweep_at.max(SWEEP_AT) {
            self.buckets.retain(|_, count| count.reset_ms > now_ms);
            self.sweep_at = 2 * self.buckets.len();
        }
        let bucket = format!("{route}:{major}");
        if rate != Rate::Webhook && !self.global.take(limits.global, now_ms) {
            let reset_ms = self.global.reset_ms;
            let exceeded = Some(Scope::Global);
            let reset_after_ms = reset_ms.saturating_sub(now_ms);
            return Some(Standing {
                bucket,
                limit: limits.global.limit,
                remaining: 0,
                reset_ms,
                reset_after_ms,
                exceeded,
            });
        }
        let count = self.buckets.entry(bucket.clone()).or_default();
        let exceeded = (!count.take(window, now_ms)).then_some(Scope::Bucket);
        Some(Standing {
            bucket,
            limit: window.limit,
            remaining: window.limit - count.used.min(window.limit),
            reset_ms: count.reset_ms,
            reset_after_ms: count.reset_ms.saturating_sub(now_ms),
            exceeded,
        })
    }
}
