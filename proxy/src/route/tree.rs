//! The trees of templates and tails, one for each host: a node for each segment.

use std::num::NonZeroU32;

use super::candidate::List;
use super::names::{Index, Short};
use super::pattern::Segment;

/// Trees of patterns. Matching walks one of them once; nothing is copied.
#[derive(Debug, Default)]
pub(super) struct Trees {
    nodes: Vec<Node>,
}

/// A tree, by the number of its root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree(u32);

/// One line of the processor's cache, as long as its segment is short: with thousands of routes most look-ups find it in memory.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Node {
    /// The literal segment that leads here, if one does.
    segment: Short,
    literals: Literals,
    /// The child for any segment. A root is nobody's child, and the first node is a root.
    param: Option<NonZeroU32>,
    /// Patterns that end here.
    here: List,
    /// Patterns whose tail begins here.
    tail: List,
}

/// The literal children of a node. Most nodes have one, which is compared faster than hashed.
#[derive(Debug, Default)]
enum Literals {
    #[default]
    None,
    One(u32),
    Many(Box<Index>),
}

impl Trees {
    /// A new tree without patterns.
    pub(super) fn plant(&mut self) -> Tree {
        Tree(self.sprout(Node::default()))
    }

    /// The patterns that end as this one does.
    pub(super) fn list(&mut self, tree: Tree, segments: &[Segment], tail: bool) -> &mut List {
        let mut at = tree.0;
        for segment in segments {
            at = match segment {
                Segment::Literal(text) => self.literal_or_new(at, text),
                Segment::Param => self.param_or_new(at),
            };
        }
        let node = &mut self.nodes[at as usize];
        if tail { &mut node.tail } else { &mut node.here }
    }

    /// Visits the patterns that match a path, which begins with a slash. No node is visited twice, so the work is
    /// bounded by the length of the path and the patterns that share its segments.
    pub(super) fn visit(&self, tree: Tree, path: &str, visitor: &mut impl FnMut(List)) {
        if let Some(rest) = path.strip_prefix('/') {
            self.walk(tree.0, rest.as_bytes(), visitor);
        }
    }

    /// `rest` is what follows the slash behind this node.
    fn walk(&self, at: u32, mut rest: &[u8], visitor: &mut impl FnMut(List)) {
        let mut node = &self.nodes[at as usize];
        loop {
            if !node.tail.is_empty() {
                visitor(node.tail);
            }
            let (segment, behind) = match memchr::memchr(b'/', rest) {
                Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
                None => (rest, None),
            };
            let literal = self.literal(node, segment);
            let param = node.param.map(NonZeroU32::get).filter(|_| !segment.is_empty());
            let Some(behind) = behind else {
                for child in literal.into_iter().chain(param) {
                    visitor(self.nodes[child as usize].here);
                }
                return;
            };
            // Both ways only where both exist; the depth is that of a pattern, which has a limit.
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

    fn literal(&self, node: &Node, segment: &[u8]) -> Option<u32> {
        match &node.literals {
            Literals::None => None,
            Literals::One(child) => (*self.nodes[*child as usize].segment == *segment).then_some(*child),
            Literals::Many(children) => children.find(segment, |child| &self.nodes[child as usize].segment),
        }
    }

    fn literal_or_new(&mut self, at: u32, segment: &str) -> u32 {
        if let Some(child) = self.literal(&self.nodes[at as usize], segment.as_bytes()) {
            return child;
        }
        let new = self.sprout(Node { segment: segment.as_bytes().into(), ..Node::default() });
        let before = std::mem::take(&mut self.nodes[at as usize].literals);
        let name_of = |child: u32| &*self.nodes[child as usize].segment;
        let literals = match before {
            Literals::None => Literals::One(new),
            Literals::One(child) => {
                let mut children = Box::<Index>::default();
                children.add(child, name_of);
                children.add(new, name_of);
                Literals::Many(children)
            }
            Literals::Many(mut children) => {
                children.add(new, name_of);
                Literals::Many(children)
            }
        };
        self.nodes[at as usize].literals = literals;
        new
    }

    fn param_or_new(&mut self, at: u32) -> u32 {
        if let Some(child) = self.nodes[at as usize].param {
            return child.get();
        }
        let new = self.sprout(Node::default());
        self.nodes[at as usize].param = NonZeroU32::new(new);
        new
    }

    fn sprout(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        // No configuration has 2^32 segments: it would not fit into its size limit.
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_fills_one_line_of_the_cache() {
        assert_eq!((size_of::<Node>(), align_of::<Node>()), (64, 64));
    }
}
