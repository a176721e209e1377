//! What a part of a condition needs at least, so that subscribers can be found by an index.

use crate::condition::Condition;
use crate::node::Node;
use crate::path::Place;

/// What one part of a condition's outermost `||` needs at least.
#[derive(Debug, Clone)]
pub enum Alternative {
    /// It can only be true where these two are equal. For an index:
    ///
    /// | of the subscriber | of the event | can be true |
    /// |---|---|---|
    /// | a text | the same text | yes |
    /// | a text | another text, or anything else | no |
    /// | anything else | a text | no |
    /// | missing | | no |
    /// | | missing | no |
    /// | not a text | not a text | perhaps: numbers are equal by value across their types, lists and maps by content |
    ///
    /// An index of texts therefore keeps the subscribers that have something else there in a list beside it, to be asked
    /// about events that have something else there. [`Place::find`] tells texts from the rest. Of several equalities in
    /// one part this is the first.
    Equal {
        /// A place of the subscriber.
        left: Place,
        /// A place of the event.
        right: Place,
    },
    /// It reads nothing but the subscriber: this part alone, to be decided once for a subscriber.
    OfSubscriber(Condition),
    /// Anything else.
    Other,
}

/// Classifies a part of a condition's outermost `||`.
pub(crate) fn classify(whole: &Condition, part: &Node, subject: &[&str]) -> Alternative {
    let mut of_subscriber = true;
    part.each_place(&mut |variable, _| of_subscriber &= subject.contains(&&**variable));
    if of_subscriber {
        return Alternative::OfSubscriber(whole.part(part.clone()));
    }
    // `&&` is true only where all of its parts are, so each of them is needed.
    let needed = match part {
        Node::And(parts) => parts.as_slice(),
        single => std::slice::from_ref(single),
    };
    needed.iter().find_map(|node| equality(node, subject)).unwrap_or(Alternative::Other)
}

fn equality(node: &Node, subject: &[&str]) -> Option<Alternative> {
    let Node::Equal(sides) = node else { return None };
    let [Node::Place(one), Node::Place(other)] = &**sides else { return None };
    let of_subscriber = |place: &Place| subject.contains(&&*place.variable);
    let (left, right) = match (of_subscriber(one), of_subscriber(other)) {
        (true, false) => (one, other),
        (false, true) => (other, one),
        _ => return None,
    };
    Some(Alternative::Equal { left: Place::clone(left), right: Place::clone(right) })
}
