//! Who asks, where, and whether they may: what comes before a line is read.

use super::{Hub, people::fitting_name};
use crate::{
    admission::{Blocklist, Refusal},
    community::{Restriction, Room},
    model::ModelSpec,
    store::{self, Member},
};

/// Who asks, where, and how they want the answer.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Who.
    pub who: &'a Member,
    /// The channel's id.
    pub channel: &'a str,
    /// Ids of the roles that they have in the channel's community.
    pub roles: &'a [String],
    /// Who sees the answer.
    pub privacy: Privacy,
    /// The surface's own note on how to answer; it goes to the first job.
    pub reply: Option<String>,
    /// The surface's own name of the request, where it may arrive twice: it makes something once.
    pub request: Option<String>,
}

/// Who sees an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Everybody in the channel.
    Public,
    /// The member alone.
    Private,
}

impl<'a> Ask<'a> {
    /// A member without roles who wants a post in the channel.
    pub fn public(who: &'a Member, channel: &'a str) -> Self {
        Self { who, channel, roles: &[], privacy: Privacy::Public, reply: None, request: None }
    }
}

/// What holds where somebody asks.
pub(super) struct Ground {
    community: String,
    mature: bool,
    paused_models: Vec<String>,
    /// Words of the settings and of the community.
    pub words: Blocklist,
    /// Flags that the asker wants where a line leaves them open.
    pub defaults: String,
}

impl Ground {
    /// The community's id.
    pub fn community(&self) -> &str {
        &self.community
    }

    /// Whether it is age-restricted.
    pub fn is_mature(&self) -> bool {
        self.mature
    }

    /// Refuses a model that is not used here.
    pub fn check_model(&self, spec: &ModelSpec) -> Result<(), Refusal> {
        if self.paused_models.contains(&spec.name) {
            return Err(Refusal::PausedModel { model: spec.name.clone() });
        }
        if spec.mature && !self.mature {
            return Err(Refusal::MatureModel { model: spec.name.clone() });
        }
        Ok(())
    }
}

/// Most members, and most rooms, that are remembered; beyond, all are forgotten and written once more.
const MAX_REMEMBERED: usize = 10_000;

impl Hub {
    /// Takes in a person and a place that a surface knows; writes only what changed since this process last saw it.
    ///
    /// # Errors
    /// If another surface has a channel of that id, or the store fails.
    pub async fn enter(&self, who: &Member, room: &Room) -> Result<(), Refusal> {
        let name = fitting_name(who);
        let new_name = self.people.get(&who.id).is_none_or(|known| *known != name);
        let new_room = self.rooms.get(&room.id).is_none_or(|known| *known != *room);
        if !new_name && !new_room {
            return Ok(());
        }
        let member = Member { id: who.id.clone(), name };
        let (member_seen, room_seen) = (new_name.then_some(&member), new_room.then_some(room));
        self.store.enter(member_seen, room_seen, self.seam.now()).await?;
        crate::step::done("entered");
        if self.people.len() >= MAX_REMEMBERED {
            self.people.clear();
        }
        if self.rooms.len() >= MAX_REMEMBERED {
            self.rooms.clear();
        }
        self.people.insert(member.id, member.name);
        self.rooms.insert(room.id.clone(), room.clone());
        Ok(())
    }

    /// Refuses who is shut out of any community: for rooms that no moderator watches.
    ///
    /// # Errors
    /// [`Refusal::Restricted`].
    pub async fn shut_out_nowhere(&self, who: &Member) -> Result<(), Refusal> {
        self.check_restriction(None, who).await
    }

    async fn check_restriction(&self, community: Option<&str>, who: &Member) -> Result<(), Refusal> {
        match self.store.restriction(community, who, self.seam.now()).await? {
            Some(Restriction { until, reason, .. }) => Err(Refusal::Restricted { until, reason }),
            None => Ok(()),
        }
    }

    /// Whether somebody may ask there now: there is room for a job, not shut out, then an open channel, then not too fast. Only what got that far
    /// counts against the rate.
    pub(super) async fn admit_asker(&self, ask: &Ask<'_>) -> Result<Ground, Refusal> {
        self.shed(ask.channel).await?;
        let here = self.place_of(ask.channel, Some(ask.who)).await?;
        if here.restricted {
            self.check_restriction(Some(&here.community), ask.who).await?;
        }
        self.check_channel(&here).await?;
        self.rates.check(&ask.who.id, ask.channel)?;
        Ok(self.ground(here))
    }

    async fn place_of(&self, channel: &str, who: Option<&Member>) -> Result<store::Ground, Refusal> {
        let here = self.store.ground(channel, who, self.seam.now()).await?;
        here.ok_or_else(|| Refusal::Missing(format!("channel “{channel}”")))
    }

    async fn check_channel(&self, here: &store::Ground) -> Result<(), Refusal> {
        if here.open && !here.paused {
            return Ok(());
        }
        let open = self.store.open_titles(&here.community).await?.join(", ");
        Err(match (here.paused, open.as_str()) {
            (true, "") => Refusal::PausedChannel { elsewhere: String::new() },
            (true, open) => Refusal::PausedChannel { elsewhere: format!(", or in {open}") },
            (false, "") => Refusal::ClosedChannel { open: "another one; a moderator knows which".to_owned() },
            (false, _) => Refusal::ClosedChannel { open },
        })
    }

    fn ground(&self, here: store::Ground) -> Ground {
        let words = [self.settings.blocked_words.as_slice(), &here.blocked_words].concat();
        Ground {
            words: Blocklist::new(&words),
            paused_models: here.paused_models,
            defaults: here.defaults,
            community: here.community,
            mature: here.mature,
        }
    }

    /// What holds in a channel, for who only looks.
    pub(super) async fn look_at(&self, channel: &str) -> Result<Ground, Refusal> {
        Ok(self.ground(self.place_of(channel, None).await?))
    }
}
