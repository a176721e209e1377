//! Who is connected: limits for each user and address, and a list of all, to count them and to send them away.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;

use crate::client::Client;

/// All clients of a bridge.
#[derive(Default)]
pub(crate) struct Clients {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: Slab<Arc<Client>>,
    addresses: HashMap<IpAddr, usize>,
    users: HashMap<Arc<str>, usize>,
    /// Nobody gets in any more.
    closed: bool,
}

/// Why nobody more gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are as many connections as there may be, or the bridge is stopping.
    Bridge,
    /// This address has as many as it may have.
    Address,
}

/// A client's place; free again when it is dropped.
pub(crate) struct Place {
    clients: Arc<Clients>,
    key: usize,
    address: IpAddr,
    user: Option<Arc<str>>,
}

impl Clients {
    /// Lets a client in.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        connections_max: usize,
        per_address_max: usize,
        client: impl FnOnce() -> Arc<Client>,
    ) -> Result<Place, Full> {
        let address = network(address);
        let mut state = self.state();
        if state.closed || state.all.len() >= connections_max {
            return Err(Full::Bridge);
        }
        if !count(&mut state.addresses, address, per_address_max) {
            return Err(Full::Address);
        }
        let key = state.all.insert(client());
        Ok(Place { clients: self.clone(), key, address, user: None })
    }

    /// Everybody who is there.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.state().all.iter().map(|(_, client)| client.clone()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.state().all.len()
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts the client as one of this user's. Whether there was room.
    pub(crate) fn of_user(&mut self, user: &Arc<str>, per_user_max: usize) -> bool {
        if self.user.as_ref() == Some(user) || user.is_empty() {
            return true;
        }
        let entered = count(&mut self.clients.state().users, user.clone(), per_user_max);
        if entered {
            self.user = Some(user.clone());
        }
        entered
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.clients.state();
        state.all.try_remove(self.key);
        uncount(&mut state.addresses, &self.address);
        if let Some(user) = &self.user {
            uncount(&mut state.users, user);
        }
    }
}

fn count<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K, max: usize) -> bool {
    let count = counts.entry(key).or_default();
    let room = *count < max;
    *count += usize::from(room);
    room
}

fn uncount<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The address that counts: of IPv6 the /64, because a client has as many as it likes of those.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Kind;

    fn enter(clients: &Arc<Clients>, address: &str) -> Result<Place, Full> {
        let address: IpAddr = address.parse().unwrap();
        clients.enter(address, 3, 2, || Client::new(1, Kind::WebSocket, 1000))
    }

    #[test]
    fn an_address_and_the_whole_have_their_limits() {
        let clients = Arc::new(Clients::default());
        let one = enter(&clients, "10.0.0.1").unwrap();
        let _two = enter(&clients, "10.0.0.1").unwrap();
        assert_eq!(enter(&clients, "::ffff:10.0.0.1").err(), Some(Full::Address));
        let _three = enter(&clients, "10.0.0.2").unwrap();
        assert_eq!(enter(&clients, "10.0.0.3").err(), Some(Full::Bridge));
        drop(one);
        assert!(enter(&clients, "10.0.0.1").is_ok());
        clients.close();
        assert_eq!(enter(&clients, "10.0.0.4").err(), Some(Full::Bridge));
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let clients = Arc::new(Clients::default());
        let _one = enter(&clients, "2001:db8::1").unwrap();
        let _two = enter(&clients, "2001:db8::2").unwrap();
        assert_eq!(enter(&clients, "2001:db8::3").err(), Some(Full::Address));
        assert!(enter(&clients, "2001:db8:0:1::3").is_ok());
    }

    #[test]
    fn a_user_has_a_limit_and_nobody_has_none() {
        let clients = Arc::new(Clients::default());
        let user: Arc<str> = "u1".into();
        let mut one = enter(&clients, "10.0.0.1").unwrap();
        let mut two = enter(&clients, "10.0.0.2").unwrap();
        assert!(one.of_user(&user, 1) && one.of_user(&user, 1));
        assert!(!two.of_user(&user, 1) && two.of_user(&"".into(), 0));
        drop(one);
        assert!(two.of_user(&user, 1));
    }
}
