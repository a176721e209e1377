//! The subscribers of a channel, in classes of those to whom a condition says the same: whatever it reads of their claims
//! is equal, and so is what they do not want to see. An event is judged once a class. Where a condition can only
//! hold if a claim equals a field of the event, the classes are found by that value, so that an event for one of ten
//! thousand owners costs one judgement.
//!
//! The index only leaves out classes for which the condition cannot hold. Whoever is found is judged by the whole
//! condition: there is no second way to be allowed.

use std::collections::HashMap;
use std::sync::Arc;

use sallyport_condition::{Alternative, Found, Vars};
use serde_json::Value;
use slab::Slab;

use super::family::Family;
use super::ring::Stored;
use crate::client::Client;
use crate::protocol::TagFilter;

/// What a class has in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClassKey {
    /// What `visible_to` reads of the claims, as JSON.
    pub(crate) claims: Arc<str>,
    pub(crate) filter: Option<Arc<TagFilter>>,
}

/// A subscriber of a class.
pub(crate) struct Member {
    pub(crate) client: Arc<Client>,
    pub(crate) user: Arc<str>,
    /// Subscribed by the server when it connected.
    pub(crate) server_side: bool,
    /// Whether it is told who comes and goes.
    pub(crate) wants_changes: bool,
}

/// Where a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    class: usize,
    member: usize,
}

struct Class {
    key: ClassKey,
    /// The claims that the condition reads.
    claims: Value,
    members: Slab<Member>,
    /// The event after which it was judged last, so that it is judged once.
    judged: u64,
    hooks: Vec<Hook>,
}

/// A value by which a class is found: of which alternative, and equal to what.
type Hook = (usize, Box<str>);

/// All subscribers of a channel.
#[derive(Default)]
pub(crate) struct Classes {
    classes: Slab<Class>,
    by_key: HashMap<ClassKey, usize>,
    by_value: HashMap<Hook, Vec<usize>>,
    /// Classes that are judged for every event.
    always: Vec<usize>,
    count: usize,
}

impl Classes {
    /// Adds a subscriber.
    pub(crate) fn insert(&mut self, family: &Family, key: ClassKey, claims: &Value, member: Member) -> Seat {
        let class = match self.by_key.get(&key) {
            Some(class) => *class,
            None => self.open(family, key, claims),
        };
        self.count += 1;
        Seat { class, member: self.classes[class].members.insert(member) }
    }

    /// Takes a subscriber out, if it still stands there.
    pub(crate) fn remove(&mut self, seat: Seat, client: u64) -> Option<Member> {
        self.take(seat, client).map(|(_, member)| member)
    }

    /// The same, with the filter it had.
    pub(crate) fn take(&mut self, seat: Seat, client: u64) -> Option<(Option<Arc<TagFilter>>, Member)> {
        let class = self.classes.get_mut(seat.class)?;
        if class.members.get(seat.member)?.client.id != client {
            return None;
        }
        let member = class.members.remove(seat.member);
        let filter = class.key.filter.clone();
        self.count -= 1;
        if class.members.is_empty() {
            self.close(seat.class);
        }
        Some((filter, member))
    }

    /// Whether this client stands there.
    pub(crate) fn holds(&self, seat: Seat, client: u64) -> bool {
        let member = self.classes.get(seat.class).and_then(|class| class.members.get(seat.member));
        member.is_some_and(|member| member.client.id == client)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Every subscriber.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.classes.iter().flat_map(|(_, class)| class.members.iter().map(|(_, member)| member))
    }

    /// Calls `each` with every subscriber that may see the event and does not filter it out.
    pub(crate) fn viewers(&mut self, family: &Family, event: &Stored, mut each: impl FnMut(&Member)) {
        for index in 0..self.always.len() {
            let class = self.always[index];
            self.judge(class, family, event, &mut each);
        }
        if self.by_value.is_empty() {
            return;
        }
        let vars = family.event_vars(event);
        for (alternative, right) in family.equalities() {
            let Some(Found::Text(value)) = right.find(&vars) else { continue };
            // Looking up by the pair needs an owned key; an event is looked up once for each alternative.
            let Some(found) = self.by_value.get(&(alternative, Box::from(value))) else { continue };
            for class in found.clone() {
                self.judge(class, family, event, &mut each);
            }
        }
    }

    fn judge(&mut self, class: usize, family: &Family, event: &Stored, each: &mut impl FnMut(&Member)) {
        let class = &mut self.classes[class];
        if class.judged == event.sequence {
            return;
        }
        class.judged = event.sequence;
        if sees(family, &class.key, &class.claims, event) {
            class.members.iter().for_each(|(_, member)| each(member));
        }
    }

    fn open(&mut self, family: &Family, key: ClassKey, claims: &Value) -> usize {
        let hooks = hooks(family, claims);
        if self.classes.capacity() == 0 {
            // Very many channels have one subscriber; a list of its own accord has room for four.
            self.classes.reserve_exact(1);
        }
        let class = self.classes.insert(Class {
            key: key.clone(),
            claims: claims.clone(),
            members: Slab::with_capacity(1),
            judged: 0,
            hooks: hooks.clone().unwrap_or_default(),
        });
        match hooks {
            None => self.always.push(class),
            Some(hooks) => {
                for hook in hooks {
                    self.by_value.entry(hook).or_default().push(class);
                }
            }
        }
        self.by_key.insert(key, class);
        class
    }

    fn close(&mut self, index: usize) {
        let class = self.classes.remove(index);
        self.by_key.remove(&class.key);
        self.always.retain(|other| *other != index);
        for hook in class.hooks {
            if let Some(found) = self.by_value.get_mut(&hook) {
                found.retain(|other| *other != index);
                if found.is_empty() {
                    self.by_value.remove(&hook);
                }
            }
        }
    }
}

/// Whether subscribers with these claims and this filter see an event. The one place where that is decided.
pub(crate) fn sees(family: &Family, key: &ClassKey, claims: &Value, event: &Stored) -> bool {
    family.visible(claims, event).unwrap_or(false)
        && key.filter.as_ref().is_none_or(|filter| filter.passes(&event.event.tags))
}

/// By which values a class is found; `None`: it has to be judged for every event.
fn hooks(family: &Family, claims: &Value) -> Option<Vec<Hook>> {
    let vars = Vars::new().bind("claims", claims);
    let mut hooks = Vec::new();
    for (index, alternative) in family.alternatives().iter().enumerate() {
        match alternative {
            Alternative::Equal { left, .. } => match left.find(&vars) {
                Some(Found::Text(value)) => hooks.push((index, value.into())),
                // Numbers may be equal in several writings.
                Some(Found::Json(_)) => return None,
                // A claim that is not there is an error: this alternative does not hold.
                None => {}
            },
            Alternative::OfSubscriber(condition) => match condition.holds(&vars) {
                Ok(false) | Err(_) => {}
                Ok(true) => return None,
            },
            Alternative::Other => return None,
        }
    }
    Some(hooks)
}
