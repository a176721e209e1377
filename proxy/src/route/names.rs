//! Things that are found by name, where there may be thousands of them and each request asks for another.
//!
//! A map of names touches four lines of the processor's cache at each look-up: two of its own, the name's, and the thing's. Here
//! the map has numbers of 4 bytes only, so that nearly all of it stays in the cache, and a name stands beside its thing.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::hash::hash;

/// A name that is kept in place if it is as short as most are.
pub(super) type Short = SmallVec<[u8; 24]>;

/// The numbers of things by their names, which stand elsewhere.
#[derive(Debug, Default)]
pub(super) struct Index {
    numbers: HashTable<u32>,
}

/// Things, each beside its name, which is kept as an `N`.
#[derive(Debug)]
pub(super) struct Named<N, T> {
    index: Index,
    things: Vec<(N, T)>,
}

impl Index {
    /// The number of the thing of this name; `name_of` tells the name of each.
    pub(super) fn find<'n>(&self, name: &[u8], name_of: impl Fn(u32) -> &'n [u8]) -> Option<u32> {
        if self.numbers.is_empty() {
            return None;
        }
        self.numbers.find(hash(name), |&number| name_of(number) == name).copied()
    }

    /// Adds a thing, whose name is not there yet.
    pub(super) fn add<'n>(&mut self, number: u32, name_of: impl Fn(u32) -> &'n [u8]) {
        let hash_of = |number: &u32| hash(name_of(*number));
        self.numbers.insert_unique(hash_of(&number), number, hash_of);
    }
}

impl<N, T> Default for Named<N, T> {
    fn default() -> Self {
        Named { index: Index::default(), things: Vec::new() }
    }
}

impl<N: AsRef<[u8]> + for<'n> From<&'n [u8]>, T> Named<N, T> {
    pub(super) fn find(&self, name: &str) -> Option<&T> {
        self.place(name).map(|place| &self.things[place].1)
    }

    /// The thing of this name, made if it is new.
    pub(super) fn find_or_add(&mut self, name: &str, new: impl FnOnce() -> T) -> &mut T {
        let place = self.place(name).unwrap_or_else(|| {
            self.things.push((name.as_bytes().into(), new()));
            let place = self.things.len() - 1;
            let things = &self.things;
            // No configuration has 2^32 names: it would not fit into its size limit.
            let number = u32::try_from(place).unwrap_or(u32::MAX);
            self.index.add(number, |number| things[number as usize].0.as_ref());
            place
        });
        &mut self.things[place].1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// All of the things.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.things.iter().map(|(_, thing)| thing)
    }

    fn place(&self, name: &str) -> Option<usize> {
        let found = self.index.find(name.as_bytes(), |number| self.things[number as usize].0.as_ref());
        found.map(|number| number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_found_by_their_names_and_made_once() {
        fn check<N: AsRef<[u8]> + for<'n> From<&'n [u8]>>() {
            let mut named = Named::<N, usize>::default();
            assert!(named.is_empty() && named.find("").is_none());
            let name = |number: usize| "x".repeat(number % 40) + &number.to_string();
            for _ in 0..2 {
                (0..1_000)
                    .for_each(|number| assert_eq!(*named.find_or_add(&name(number), || number), number));
            }
            assert_eq!(named.values().count(), 1_000);
            (0..1_000).for_each(|number| assert_eq!(named.find(&name(number)), Some(&number)));
            assert_eq!((named.find("x"), named.find("1000")), (None, None));
        }
        check::<Short>();
        check::<Box<[u8]>>();
    }
}
