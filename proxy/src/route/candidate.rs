//! What a look-up has to know of the routes at the end of a path: a few bytes each, beside each other, so that much of it stays
//! in the processor's cache where thousands of routes are asked for in turn.

use super::method::MethodSet;
use super::pattern::Places;

/// A route, as far as nearly every look-up has to know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) methods: MethodSet,
    /// Where the path has its parameters.
    pub(super) places: Places,
    /// The place of its entry in the table. Among the routes of one host the lesser comes first.
    pub(super) rank: u32,
    /// Its place in the configuration.
    pub(super) index: u32,
    /// Whether its entry has conditions.
    pub(super) conditional: bool,
    /// Those that come after it.
    pub(super) rest: List,
}

/// Candidates for the same requests, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    /// The number of the first; of an empty list one that no candidate has.
    first: u32,
}

/// The candidates of all lists of a table.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    all: Vec<Candidate>,
}

impl Default for List {
    fn default() -> Self {
        List { first: u32::MAX }
    }
}

impl List {
    pub(super) fn is_empty(self) -> bool {
        self == List::default()
    }
}

impl Candidates {
    /// Puts a candidate, whatever its `rest`, before all others of a list.
    pub(super) fn prepend(&mut self, list: &mut List, candidate: Candidate) {
        // No configuration has 2^32 hosts of routes: it would not fit into its size limit.
        let first = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(Candidate { rest: *list, ..candidate });
        *list = List { first };
    }

    /// The candidates of a list.
    pub(super) fn of(&self, list: List) -> impl Iterator<Item = &Candidate> {
        std::iter::successors(self.first(list), |candidate| self.first(candidate.rest))
    }

    fn first(&self, list: List) -> Option<&Candidate> {
        self.all.get(list.first as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(rank: u32) -> Candidate {
        let (methods, places) = (MethodSet::ALL, Places::default());
        Candidate { methods, places, rank, index: 0, conditional: false, rest: List::default() }
    }

    #[test]
    fn what_was_put_in_last_comes_first() {
        let (mut candidates, mut lists) = (Candidates::default(), [List::default(); 3]);
        for rank in [5, 4, 3, 2, 1] {
            candidates.prepend(&mut lists[rank as usize % 2], candidate(rank));
        }
        let ranks = |list: List| candidates.of(list).map(|one| one.rank).collect::<Vec<_>>();
        assert_eq!(lists.map(ranks), [vec![2, 4], vec![1, 3, 5], vec![]]);
        assert_eq!(lists.map(List::is_empty), [false, false, true]);
    }

    #[test]
    fn two_candidates_fill_a_line_of_the_cache() {
        assert_eq!(size_of::<Candidate>(), 32);
    }
}
