//! What clients ask about a channel: what was sent on it, and who is there.

use serde::Serialize;

use super::Session;
use crate::hub::{ClassKey, Family, Most, Since};
use crate::protocol::command::History;
use crate::protocol::{Close, ErrorCode};

/// Publications of one answer.
const HISTORY_MAX: usize = 1000;

impl Session {
    pub(super) fn history(&mut self, id: u32, command: &History<'_>) {
        let Some(family) = self.asked(id, "history", &command.channel, |family| family.history) else {
            return;
        };
        let (claims, read) = family.subject(self.who.claims());
        let limit = match command.limit {
            0 => 0,
            limit => usize::try_from(limit).unwrap_or(HISTORY_MAX).min(HISTORY_MAX),
        };
        let since = command
            .since
            .as_ref()
            .map(|since| Since { epoch: since.epoch.to_string(), offset: since.offset });
        let key = ClassKey { claims, filter: None };
        // As much as may wait for a client that reads.
        let most = Most { events: limit, bytes: self.shared.plan.settings.limits.queue_bytes.0 as usize };
        match self.shared.hub.history(&command.channel, &key, &read, since.as_ref(), most, command.reverse) {
            Some(history) => self.reply(id, "history", &history),
            None => self.fail(id, "history", ErrorCode::UNRECOVERABLE_POSITION),
        }
    }

    pub(super) fn presence(&mut self, id: u32, channel: &str) {
        self.answer_presence(id, "presence", channel, |session| session.shared.hub.presence(channel));
    }

    pub(super) fn presence_stats(&mut self, id: u32, channel: &str) {
        self.answer_presence(id, "presence_stats", channel, |session| {
            session.shared.hub.presence_stats(channel)
        });
    }

    fn answer_presence<T: Serialize>(
        &self,
        id: u32,
        command: &'static str,
        channel: &str,
        answer: impl FnOnce(&Self) -> T,
    ) {
        if self.asked(id, command, channel, |family| family.presence).is_some() {
            self.reply(id, command, &answer(self));
        }
    }

    /// The channel's family, if it answers such questions and this client may subscribe: who may hear may ask.
    fn asked(
        &self,
        id: u32,
        command: &'static str,
        channel: &str,
        available: impl FnOnce(&Family) -> bool,
    ) -> Option<&Family> {
        if channel.is_empty() {
            self.client.close(Close::BAD_REQUEST);
            return None;
        }
        let error = match self.family(channel) {
            None => ErrorCode::UNKNOWN_CHANNEL,
            Some(family) if !available(family) => ErrorCode::NOT_AVAILABLE,
            Some(family)
                if !family.may_subscribe(self.who.claims(), channel)
                    || !self.has_token_for(family, channel) =>
            {
                ErrorCode::PERMISSION_DENIED
            }
            Some(family) if channel.contains('*') && !family.wildcard => ErrorCode::PERMISSION_DENIED,
            Some(family) => return Some(family),
        };
        self.fail(id, command, error);
        None
    }

    /// A family that asks for a token shows its channels to those who have shown one.
    fn has_token_for(&self, family: &Family, channel: &str) -> bool {
        !family.token || self.subscriptions.iter().any(|held| &*held.subscription.channel == channel)
    }
}
