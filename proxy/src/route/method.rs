//! Sets of methods, as bits of a word.

use http::Method;
use smallvec::SmallVec;

/// The bit for every method that no route names.
const OTHER: u64 = 1 << 63;

/// The methods that routes name, each with its bit. Starts with those of RFC 9110 and 5789.
#[derive(Debug)]
pub(super) struct Methods {
    known: Vec<Method>,
}

/// A set of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MethodSet(u64);

impl Methods {
    pub(super) fn new() -> Self {
        let known = vec![
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
        ];
        Methods { known }
    }

    /// The set of these names; of every method if there are none. `GET` includes `HEAD`. `Err` is a name that is no
    /// method or one too many.
    pub(super) fn set<'a>(&mut self, names: &'a [String]) -> Result<MethodSet, &'a str> {
        if names.is_empty() {
            return Ok(MethodSet::ALL);
        }
        let mut bits = 0;
        for name in names {
            let method = Method::from_bytes(name.as_bytes()).map_err(|_| name.as_str())?;
            let known = self.known.iter().position(|known| *known == method);
            let place = known.unwrap_or(self.known.len());
            if known.is_none() {
                if place >= 63 {
                    return Err(name);
                }
                self.known.push(method);
            }
            bits |= 1 << place;
        }
        if bits & 1 == 1 {
            bits |= 2;
        }
        Ok(MethodSet(bits))
    }

    /// The set of a request's one method.
    pub(super) fn of(&self, method: &Method) -> MethodSet {
        let place = self.known.iter().position(|known| known == method);
        MethodSet(place.map_or(OTHER, |place| 1 << place))
    }

    /// The methods of a set, in a fixed order.
    pub(super) fn list(&self, set: MethodSet) -> SmallVec<[Method; 8]> {
        let bits = set.0;
        self.known
            .iter()
            .enumerate()
            .filter(|(place, _)| bits >> place & 1 == 1)
            .map(|(_, m)| m.clone())
            .collect()
    }
}

impl MethodSet {
    pub(super) const ALL: MethodSet = MethodSet(u64::MAX);
    pub(super) const NONE: MethodSet = MethodSet(0);

    pub(super) fn has(self, method: MethodSet) -> bool {
        self.0 & method.0 != 0
    }

    pub(super) fn covers(self, other: MethodSet) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn with(self, other: MethodSet) -> MethodSet {
        MethodSet(self.0 | other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set was named, as opposed to every method.
    pub(super) fn is_named(self) -> bool {
        self != Self::ALL
    }
}
