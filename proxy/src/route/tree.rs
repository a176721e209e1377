//! The tree of templates and tails of one host: a node for each segment.

use smallvec::SmallVec;

use super::hash::Map;
use super::pattern::Segment;

/// Entries of the table, by their rank, the best first.
pub(super) type Ranks = SmallVec<[u32; 4]>;

/// A tree of patterns. Matching walks it once; nothing is copied.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    param: Option<u32>,
    /// Patterns that end here.
    here: Ranks,
    /// Patterns whose tail begins here.
    tail: Ranks,
}

/// The literal children of a node. Most nodes have one, which is compared faster than hashed.
#[derive(Debug, Default)]
enum Literals {
    #[default]
    None,
    One(Box<str>, u32),
    Many(Map<Box<str>, u32>),
}

impl Literals {
    fn find(&self, segment: &str) -> Option<u32> {
        match self {
            Literals::None => None,
            Literals::One(text, child) => (**text == *segment).then_some(*child),
            Literals::Many(children) => children.get(segment).copied(),
        }
    }

    /// The child of this segment; `new` if there was none.
    fn find_or_add(&mut self, segment: &str, new: u32) -> u32 {
        if let Some(child) = self.find(segment) {
            return child;
        }
        *self = match std::mem::take(self) {
            Literals::None => Literals::One(segment.into(), new),
            Literals::One(text, child) => {
                Literals::Many(Map::from_iter([(text, child), (segment.into(), new)]))
            }
            Literals::Many(mut children) => {
                children.insert(segment.into(), new);
                Literals::Many(children)
            }
        };
        new
    }
}

impl Default for Tree {
    fn default() -> Self {
        Tree { nodes: vec![Node::default()] }
    }
}

impl Tree {
    /// Adds a pattern. Patterns are added in the order of their ranks.
    pub(super) fn add(&mut self, segments: &[Segment], tail: bool, rank: u32) {
        let mut at = 0;
        for segment in segments {
            let new = self.nodes.len();
            // No configuration has 2^32 segments: it would not fit into its size limit.
            let new_id = u32::try_from(new).unwrap_or(u32::MAX);
            let node = &mut self.nodes[at];
            let child = match segment {
                Segment::Literal(text) => node.literals.find_or_add(text, new_id),
                Segment::Param => *node.param.get_or_insert(new_id),
            };
            at = child as usize;
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        let node = &mut self.nodes[at];
        if tail { node.tail.push(rank) } else { node.here.push(rank) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.nodes[0].here.is_empty() && self.nodes[0].tail.is_empty()
    }

    /// Visits the patterns that match a path, which begins with a slash. No node is visited twice, so the work is
    /// bounded by the length of the path and the patterns that share its segments.
    pub(super) fn visit(&self, path: &str, visitor: &mut impl FnMut(&[u32])) {
        if let Some(rest) = path.strip_prefix('/') {
            self.walk(0, rest, visitor);
        }
    }

    /// `rest` is what follows the slash behind this node.
    fn walk(&self, at: u32, mut rest: &str, visitor: &mut impl FnMut(&[u32])) {
        let mut node = &self.nodes[at as usize];
        loop {
            if !node.tail.is_empty() {
                visitor(&node.tail);
            }
            let (segment, behind) = match memchr::memchr(b'/', rest.as_bytes()) {
                Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
                None => (rest, None),
            };
            let literal = node.literals.find(segment);
            let param = node.param.filter(|_| !segment.is_empty());
            let Some(behind) = behind else {
                for child in literal.into_iter().chain(param) {
                    visitor(&self.nodes[child as usize].here);
                }
                return;
            };
            // Both ways only where both exist; the depth is that of a pattern, which the configuration limits.
            let next = match (literal, param) {
                (Some(literal), Some(param)) => {
                    self.walk(literal, behind, visitor);
                    param
                }
                (Some(only), None) | (None, Some(only)) => only,
                (None, None) => return,
            };
            node = &self.nodes[next as usize];
            rest = behind;
        }
    }
}
