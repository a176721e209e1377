//! The listening socket: what is settled when it is bound, and cannot be changed while it is open.

use std::io;
use std::net::SocketAddr;

use sallyport_config::listener::Listener;
use tokio::net::{TcpListener, TcpSocket};

/// How a socket is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Connections that the kernel keeps until they are accepted.
    backlog: u32,
    /// Whether other processes may listen at the same address.
    reuse_port: bool,
}

impl Opening {
    /// What the operator wrote.
    pub(super) fn of(settings: &Listener) -> Self {
        Opening { backlog: settings.backlog, reuse_port: settings.reuse_port }
    }

    /// Binds the address and listens.
    pub(super) fn listen(self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // A restart must not wait for connections of the process before to leave TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(self.reuse_port)?;
        socket.bind(address)?;
        socket.listen(self.backlog)
    }
}

#[cfg(test)]
mod tests {
    use sallyport_testkit::wait::within;
    use serde_json::json;
    use tokio::net::TcpStream;

    use super::*;

    fn opening(more: &serde_json::Value) -> Opening {
        let mut settings = json!({ "address": "127.0.0.1:0" });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Opening::of(&serde_json::from_value(settings).unwrap())
    }

    /// A full queue makes the kernel drop what a client sends to connect; the client tries again a second later, then
    /// two. A listener with a queue of 128 kept 1,000 clients that came at once waiting for up to 6 s.
    #[tokio::test]
    async fn a_burst_connects_while_nobody_accepts() {
        let kept = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let burst = kept.trim().parse::<usize>().unwrap().min(600);
        let socket = opening(&json!({})).listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let mut clients = Vec::new();
        for number in 0..burst {
            clients.push(within(&format!("connection {number}"), TcpStream::connect(address)).await.unwrap());
        }
    }

    #[test]
    fn it_is_opened_as_the_operator_says() {
        assert_eq!(opening(&json!({ "backlog": 7 })), Opening { backlog: 7, reuse_port: false });
        assert_eq!(opening(&json!({ "reuse_port": true })), Opening { backlog: 4096, reuse_port: true });
    }

    /// RFC 4291, section 2.5.3: the other family.
    #[tokio::test]
    async fn ipv6_is_bound_too() {
        let socket = opening(&json!({})).listen("[::1]:0".parse().unwrap()).unwrap();
        within("a connection", TcpStream::connect(socket.local_addr().unwrap())).await.unwrap();
    }
}
