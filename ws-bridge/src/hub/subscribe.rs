//! The beginning and the end of subscriptions, and what subscribers may ask about their channel.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sallyport_kafka::Range;
use serde_json::Value;
use serde_json::value::RawValue;

use super::classes::Seat;
use super::family::Family;
use super::recover::{CaughtUp, Missed, channels_of, missed};
use super::{Channel, ClassKey, FamilyState, Hub, Member, Since, State, Stored, sees};
use crate::client::Client;
use crate::protocol::TagFilter;
use crate::protocol::reply::{self, ClientInfo, History, Presence, PresenceStats};

/// Who wants to be subscribed to what.
pub(crate) struct Request<'a> {
    /// A channel, or a pattern that ends with `*`.
    pub(crate) channel: Arc<str>,
    pub(crate) key: ClassKey,
    /// The claims that `key` stands for.
    pub(crate) claims: &'a Value,
    pub(crate) user: Arc<str>,
    pub(crate) since: Option<Since>,
    /// Whether what was missed is taken for lost, if it cannot be had at once.
    pub(crate) give_up: bool,
    /// Whether it should fail rather than begin anew.
    pub(crate) reject_unrecovered: bool,
    pub(crate) server_side: bool,
    pub(crate) wants_changes: bool,
    /// Bytes of publications that a recovery may have.
    pub(crate) bytes_max: usize,
    /// Whether a catch-up may be asked for.
    pub(crate) may_catch_up: bool,
}

/// How much of the past is told at a time.
pub(crate) struct Most {
    pub(crate) events: usize,
    /// Of publications.
    pub(crate) bytes: usize,
}

/// A subscription: what ends it.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) channel: Arc<str>,
    seat: Seat,
}

/// How a subscription begins.
#[derive(Debug, Default)]
pub(crate) struct Welcome {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    /// Publications that were missed.
    pub(crate) missed: Vec<Arc<Stored>>,
    /// Whether these are all that were missed; none if nothing was asked for.
    pub(crate) recovered: Option<bool>,
    /// Whether the channel has a pattern for a name.
    pub(crate) wildcard: bool,
}

/// What has to be read before a subscription can begin.
#[derive(Debug, Clone)]
pub(crate) struct CatchUpNeeded {
    pub(crate) ranges: Vec<Range>,
}

/// Why a subscription does not begin.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No such family.
    Unknown,
    /// The topics are not read yet.
    NotReady,
    /// The client has seen what this node has not.
    Ahead,
    /// It asked to fail rather than begin anew.
    Unrecoverable,
    CatchUp(CatchUpNeeded),
}

impl Hub {
    /// Begins a subscription. `welcome` is called between two events, so that the client is told before it gets any.
    pub(crate) fn subscribe(
        &self,
        client: &Arc<Client>,
        request: Request<'_>,
        caught_up: Option<CaughtUp>,
        welcome: impl FnOnce(&Welcome),
    ) -> Result<Subscription, Refusal> {
        let mut state = self.state();
        let State { families, progress, .. } = &mut *state;
        let family = families.get_mut(super::family_of(&request.channel)).ok_or(Refusal::Unknown)?;
        if !family.is_ready(progress) {
            return Err(Refusal::NotReady);
        }
        let mut told = Welcome { wildcard: request.channel.ends_with('*'), ..Welcome::default() };
        if let Some(since) = &request.since {
            let found = missed(family, progress, &request.channel, since, caught_up);
            told.recovered = Some(match found {
                Missed::Events(events) => told.fill(&family.family, &request, events),
                Missed::Ahead if !request.give_up => return Err(Refusal::Ahead),
                Missed::Older(ranges) if request.may_catch_up && !request.give_up => {
                    return Err(Refusal::CatchUp(CatchUpNeeded { ranges }));
                }
                Missed::Ahead | Missed::Older(_) | Missed::Lost => false,
            });
            if told.recovered == Some(false) && request.reject_unrecovered {
                return Err(Refusal::Unrecoverable);
            }
        }
        // A pattern may match very many channels; its positions do without the newest event.
        let newest = family.channels.get(&request.channel).and_then(|channel| channel.ring.newest());
        let newest = newest.map(|event| (event.place(), event.event.time));
        told.epoch = progress.epoch(&family.topics, newest);
        told.offset = progress.offset(&family.topics);
        welcome(&told);
        self.metrics.subscriptions.inc();
        Ok(family.seat(client, request))
    }

    /// Ends a subscription. Nothing happens if it has ended already.
    pub(crate) fn unsubscribe(&self, client: &Client, subscription: &Subscription) {
        let mut state = self.state();
        let Some(family) = state.families.get_mut(super::family_of(&subscription.channel)) else { return };
        let Some(channel) = family.channel_mut(&subscription.channel) else { return };
        let Some(member) = channel.classes.remove(subscription.seat, client.id) else { return };
        let unused = channel.is_unused();
        if family.family.join_leave
            && let Some(channel) = family.channel_mut(&subscription.channel)
        {
            tell_change(channel, "leave", &info(&member));
        }
        if unused {
            family.remove(&subscription.channel);
        }
        self.metrics.subscriptions.dec();
    }

    /// Judges a subscription by other claims from the next event on.
    pub(crate) fn seat_anew(
        &self,
        client: &Arc<Client>,
        subscription: &mut Subscription,
        key: impl FnOnce(Option<Arc<TagFilter>>) -> ClassKey,
        claims: &Value,
    ) {
        let mut state = self.state();
        let Some(family) = state.families.get_mut(super::family_of(&subscription.channel)) else { return };
        let compiled = family.family.clone();
        let Some(channel) = family.channel_mut(&subscription.channel) else { return };
        if let Some((filter, member)) = channel.classes.take(subscription.seat, client.id) {
            subscription.seat = channel.classes.insert(&compiled, key(filter), claims, member);
        }
    }

    /// Whether a subscription has not been ended from here.
    pub(crate) fn holds(&self, client: &Client, subscription: &Subscription) -> bool {
        let mut state = self.state();
        let family = state.families.get_mut(super::family_of(&subscription.channel));
        let channel = family.and_then(|family| family.channel_mut(&subscription.channel));
        channel.is_some_and(|channel| channel.classes.holds(subscription.seat, client.id))
    }

    /// Who is subscribed to a channel on this node.
    pub(crate) fn presence(&self, name: &str) -> Presence {
        let mut presence = BTreeMap::new();
        self.members(name, |member| {
            let info = info(member);
            presence.insert(info.client.clone(), info);
        });
        Presence { presence }
    }

    /// How many are subscribed to a channel on this node.
    pub(crate) fn presence_stats(&self, name: &str) -> PresenceStats {
        let (mut num_clients, mut users) = (0, HashSet::new());
        self.members(name, |member| {
            num_clients += 1;
            users.insert(member.user.clone());
        });
        PresenceStats { num_clients, num_users: users.len() }
    }

    fn members(&self, name: &str, each: impl FnMut(&Member)) {
        let mut state = self.state();
        let family = state.families.get_mut(super::family_of(name));
        if let Some(channel) = family.and_then(|family| family.channel_mut(name)) {
            channel.classes.members().for_each(each);
        }
    }

    /// What was sent on a channel and this subject may see, from the ring, as much as `most` allows. `None`: the position
    /// asked about is not of this stream, or the ring does not reach back to it.
    pub(crate) fn history(
        &self,
        name: &str,
        key: &ClassKey,
        claims: &Value,
        since: Option<&Since>,
        mut most: Most,
        reverse: bool,
    ) -> Option<History> {
        let state = self.state();
        let family = state.families.get(super::family_of(name))?;
        let visible = |event: &&Arc<Stored>| sees(&family.family, key, claims, event);
        let channels = channels_of(family, name);
        let mut events: Vec<&Arc<Stored>> = channels.iter().flat_map(|channel| channel.ring.iter()).collect();
        events.sort_unstable_by_key(|event| event.sequence);
        if reverse {
            events.reverse();
        }
        if let Some(since) = since {
            let position = super::progress::Position::parse(&since.epoch)?;
            if !state.progress.is_mine(&position, &family.topics) {
                return None;
            }
            events.retain(
                |event| if reverse { event.offset < since.offset } else { event.offset > since.offset },
            );
        }
        let wildcard = name.ends_with('*');
        let publications = events.into_iter().filter(visible).take(most.events).take_while(|event| {
            let left = most.bytes.checked_sub(event.publication_bytes(wildcard));
            most.bytes = left.unwrap_or(0);
            left.is_some()
        });
        Some(History {
            publications: publications.map(|event| event.publication(wildcard)).collect(),
            epoch: state.progress.epoch(&family.topics, None),
            offset: state.progress.offset(&family.topics),
        })
    }

    /// The position over all topics: where a stream of server-sent events begins.
    pub(crate) fn whole_position(&self) -> String {
        let state = self.state();
        state.progress.epoch(&state.topics, None)
    }
}

impl Welcome {
    /// Takes what the client may see. Whether that is not too much.
    fn fill(&mut self, family: &Family, request: &Request<'_>, events: Vec<Arc<Stored>>) -> bool {
        self.missed = events;
        self.missed.retain(|event| sees(family, &request.key, request.claims, event));
        let bytes: usize = self.missed.iter().map(|event| event.publication_bytes(self.wildcard)).sum();
        if bytes <= request.bytes_max {
            return true;
        }
        self.missed = Vec::new();
        false
    }

    /// The missed publications as JSON.
    pub(crate) fn publications(&self) -> Vec<Box<RawValue>> {
        self.missed.iter().map(|event| event.publication(self.wildcard)).collect()
    }
}

impl FamilyState {
    fn seat(&mut self, client: &Arc<Client>, request: Request<'_>) -> Subscription {
        let Request { channel: name, key, claims, user, server_side, wants_changes, .. } = request;
        let new = || Channel::new(name.clone());
        let channel = match name.strip_suffix('*') {
            Some(prefix) => self.patterns.entry(prefix.into()).or_insert_with(new),
            None => self.channels.entry(name.clone()).or_insert_with(new),
        };
        let member = Member { client: client.clone(), user, server_side, wants_changes };
        if self.family.join_leave {
            tell_change(channel, "join", &info(&member));
        }
        let seat = channel.classes.insert(&self.family, key, claims, member);
        Subscription { channel: name, seat }
    }

    fn channel_mut(&mut self, name: &str) -> Option<&mut Channel> {
        match name.strip_suffix('*') {
            Some(prefix) => self.patterns.get_mut(prefix),
            None => self.channels.get_mut(name),
        }
    }

    fn remove(&mut self, name: &str) {
        match name.strip_suffix('*') {
            Some(prefix) => drop(self.patterns.remove(prefix)),
            None => drop(self.channels.remove(name)),
        }
    }
}

fn info(member: &Member) -> ClientInfo {
    ClientInfo { user: member.user.to_string(), client: member.client.name.to_string() }
}

/// Tells those who want to know that somebody came or went.
fn tell_change(channel: &Channel, what: &'static str, info: &ClientInfo) {
    let notice = reply::presence_change(&channel.name, what, info);
    let others = channel.classes.members().filter(|other| *other.client.name != *info.client);
    others.filter(|member| member.wants_changes).for_each(|member| member.client.tell(&notice));
}
