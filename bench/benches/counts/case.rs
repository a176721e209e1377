//! What a case is: work that can be done over and over.

use crate::material::Material;

/// A piece of work.
pub(crate) struct Case {
    /// `area: what`, as it stands in `bench/counts.json`.
    pub(crate) name: &'static str,
    /// How many turns make a count: enough for what happens now and then, such as a table that grows.
    pub(crate) turns: usize,
    /// Makes ready for the first turns.
    pub(crate) make: Box<Make>,
}

/// Makes the work of a case.
pub(crate) type Make = dyn Fn(&Material) -> Box<dyn Work>;

/// What is done in a case.
pub(crate) trait Work {
    /// Makes ready for so many turns. Not counted.
    fn prepare(&mut self, turns: usize);
    /// Does so many turns.
    fn turn(&mut self, turns: usize);
}

/// As many turns as a count needs, unless a turn is long.
const TURNS: usize = 200;

/// A case that wants nothing new for a turn.
pub(crate) fn again<M, W>(name: &'static str, make: M) -> Case
where
    M: Fn(&Material) -> W + 'static,
    W: FnMut() + 'static,
{
    Case { name, turns: TURNS, make: Box::new(move |material| Box::new(Again(make(material)))) }
}

/// A case that uses something up in a turn: the first function of the two makes it, uncounted.
pub(crate) fn fresh<M, P, W, T>(name: &'static str, make: M) -> Case
where
    M: Fn(&Material) -> (P, W) + 'static,
    P: FnMut() -> T + 'static,
    W: FnMut(&mut T) + 'static,
    T: 'static,
{
    let make = move |material: &Material| -> Box<dyn Work> {
        let (part, work) = make(material);
        let mut fresh = Fresh { part, work, parts: Vec::new() };
        fresh.prepare(TURNS);
        Box::new(fresh)
    };
    Case { name, turns: TURNS, make: Box::new(make) }
}

impl Case {
    /// The same with so many turns.
    pub(crate) fn turns(self, turns: usize) -> Case {
        Case { turns, ..self }
    }
}

struct Again<W>(W);

struct Fresh<P, W, T> {
    part: P,
    work: W,
    parts: Vec<T>,
}

impl<W: FnMut()> Work for Again<W> {
    fn prepare(&mut self, _turns: usize) {}

    fn turn(&mut self, turns: usize) {
        (0..turns).for_each(|_| (self.0)());
    }
}

impl<P: FnMut() -> T, W: FnMut(&mut T), T> Work for Fresh<P, W, T> {
    fn prepare(&mut self, turns: usize) {
        self.parts = std::iter::repeat_with(&mut self.part).take(turns).collect();
    }

    fn turn(&mut self, turns: usize) {
        assert!(self.parts.len() >= turns, "prepared for these turns");
        self.parts[..turns].iter_mut().for_each(&mut self.work);
    }
}
