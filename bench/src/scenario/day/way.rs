//! The two ways to the platform: through the edge as people have it, and straight to each service as only services can.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::scenario::connect::{Address, Answer, Connection};

/// A service of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Live,
    Users,
    Batches,
    Files,
    Results,
}

/// How many there are.
const SERVICES: usize = 5;

/// Where the platform is.
#[derive(Debug, Clone, Args)]
pub(super) struct Way {
    /// The edge, over TLS.
    #[arg(long, requires = "ca", conflicts_with = "service")]
    pub(super) edge: Option<SocketAddr>,
    /// The file of its authority.
    #[arg(long)]
    pub(super) ca: Option<PathBuf>,
    /// The services instead: live, users, batches, files, results.
    #[arg(long, num_args = SERVICES, required_unless_present = "edge")]
    pub(super) service: Vec<SocketAddr>,
}

/// A user's connections.
pub(super) struct Line {
    /// Of the edge only one, else of each service.
    addresses: Vec<Address>,
    idle: [RefCell<Vec<Connection>>; SERVICES],
    user: String,
    /// What says who it is: a token, or what the edge would say to services.
    identity: RefCell<String>,
    through_edge: bool,
}

impl Way {
    /// A user's connections, none of which is open yet. Each user has an address, as people have: the edge's limits count by it.
    pub(super) fn line(&self, number: usize) -> Result<Line> {
        let from =
            IpAddr::V4(Ipv4Addr::new(127, 1, u8::try_from(number / 200)?, u8::try_from(number % 200 + 1)?));
        let addresses = match self.edge {
            Some(edge) => vec![Address::new(edge, self.ca.as_deref())?.from(from)],
            None => self.service.iter().map(|to| Address::new(*to, None)).collect::<Result<_>>()?,
        };
        let user = format!("user-{number}");
        let identity = match self.edge {
            Some(_) => String::new(),
            None => format!("X-User-Id: {user}\r\n"),
        };
        Ok(Line {
            addresses,
            idle: Default::default(),
            user,
            identity: RefCell::new(identity),
            through_edge: self.edge.is_some(),
        })
    }
}

impl Line {
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn through_edge(&self) -> bool {
        self.through_edge
    }

    /// From now on with this token. Services have no use for it.
    pub(super) fn log_in(&self, token: &str) {
        if self.through_edge {
            *self.identity.borrow_mut() = format!("Authorization: Bearer {token}\r\n");
        }
    }

    /// The token, once there is one.
    pub(super) fn token(&self) -> String {
        let identity = self.identity.borrow();
        identity
            .strip_prefix("Authorization: Bearer ")
            .map_or_else(String::new, |token| token.trim_end().to_owned())
    }

    /// The edge's address.
    pub(super) fn edge(&self) -> Option<&Address> {
        self.through_edge.then(|| &self.addresses[0])
    }

    /// Asks a service for something, on a connection that is free or a new one. The answer has to have this status.
    pub(super) async fn ask(
        &self,
        service: Service,
        status: u16,
        start: &str,
        body: &[u8],
    ) -> Result<Answer> {
        let mut connection = self.connection(service).await?;
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{start} HTTP/1.1\r\nHost: localhost\r\n{}{length}\r\n", self.identity.borrow());
        let answer = connection.ask(&[head.as_bytes(), body].concat()).await;
        let answer = answer.with_context(|| format!("{}: {start}", self.user))?;
        ensure!(
            answer.status == status,
            "{}: {start} is answered with {}: {}",
            self.user,
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        self.idle[self.place(service)].borrow_mut().push(connection);
        Ok(answer)
    }

    async fn connection(&self, service: Service) -> Result<Connection> {
        let place = self.place(service);
        let idle = self.idle[place].borrow_mut().pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.addresses[place].connection().await.context("cannot connect"),
        }
    }

    fn place(&self, service: Service) -> usize {
        if self.through_edge { 0 } else { service as usize }
    }
}
