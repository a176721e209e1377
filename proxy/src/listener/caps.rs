//! How many connections there are, in all and of each client address. Exact, and touched once a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use sallyport_config::listener::Limits;

use crate::client_address::client_bucket;

/// The connections of one listener. Outlives reloads, so that a cap holds across them.
#[derive(Debug, Default)]
pub(crate) struct Caps {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// Which cap refused a connection; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Listener,
    Client,
}

/// A connection's place, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    caps: Arc<Caps>,
    bucket: IpAddr,
}

impl Caps {
    /// Takes a place for a connection from this address.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr, limits: &Limits) -> Result<Place, Refused> {
        let bucket = client_bucket(client);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= limits.connections {
            return Err(Refused::Listener);
        }
        let of_client = open.by_client.entry(bucket).or_default();
        if *of_client >= limits.connections_per_client {
            return Err(Refused::Client);
        }
        *of_client += 1;
        open.all += 1;
        Ok(Place { caps: self.clone(), bucket })
    }

    /// Connections under way.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.caps.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        if let Some(of_client) = open.by_client.get_mut(&self.bucket) {
            *of_client = of_client.saturating_sub(1);
            if *of_client == 0 {
                open.by_client.remove(&self.bucket);
            }
        }
    }
}

impl Refused {
    /// The metric label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Refused::Listener => "listener",
            Refused::Client => "client",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: usize, connections_per_client: usize) -> Limits {
        Limits { connections, connections_per_client, ..Limits::default() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_is_held_to_its_own_cap_and_gives_places_back() {
        let caps = Arc::new(Caps::default());
        let limits = limits(10, 2);
        let first = caps.enter(address("192.0.2.1"), &limits).unwrap();
        let _second = caps.enter(address("192.0.2.1"), &limits).unwrap();
        assert_eq!(caps.enter(address("192.0.2.1"), &limits).unwrap_err(), Refused::Client);
        let _other = caps.enter(address("192.0.2.2"), &limits).unwrap();
        drop(first);
        assert!(caps.enter(address("192.0.2.1"), &limits).is_ok());
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let caps = Arc::new(Caps::default());
        let limits = limits(10, 1);
        let _held = caps.enter(address("2001:db8::1"), &limits).unwrap();
        assert_eq!(caps.enter(address("2001:db8::2"), &limits).unwrap_err(), Refused::Client);
        assert!(caps.enter(address("2001:db8:0:1::1"), &limits).is_ok());
    }

    #[test]
    fn the_listener_has_a_cap_of_its_own() {
        let caps = Arc::new(Caps::default());
        let limits = limits(1, 5);
        let held = caps.enter(address("192.0.2.1"), &limits).unwrap();
        assert_eq!(caps.enter(address("192.0.2.9"), &limits).unwrap_err(), Refused::Listener);
        assert_eq!(caps.count(), 1);
        drop(held);
        assert_eq!(caps.count(), 0);
        assert!(caps.open.lock().unwrap().by_client.is_empty(), "no memory of clients that have gone");
    }
}
