//! Sessions that clients resume by tickets (RFC 8446, section 4.6.1; RFC 5077 for TLS 1.2). The edge keeps the keys that
//! seal them and nothing of each session, so it does not matter how many clients come back.
//!
//! The keys live in memory, change every 6 hours, and open tickets for 12 hours at most. rustls resumes only under the
//! server name that the session was made for (RFC 6066, section 3), and takes no early data. What it does not know is
//! that a ticket came from elsewhere: whoever resumes is shown no certificate. Therefore each listener has keys of its
//! own, which outlive reloads only as long as its certificates prove the same names, so that a name that was taken out
//! of service is not vouched for by a session of before. A renewed certificate changes nothing: who holds the keys of
//! the tickets has shown the old one. Authentication of clients would have to count here as the names do.

use std::sync::Arc;

use rustls::crypto::ring::Ticketer;
use rustls::server::ProducesTickets;

/// The keys of a listener's tickets.
pub(super) struct Tickets {
    /// The names of each certificate, in their order: the first certificate serves who asks for no name.
    names: Vec<Vec<String>>,
    keys: Arc<dyn ProducesTickets>,
}

impl Tickets {
    /// The keys of `before` if these names are its names, else new ones.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn next(before: Option<&Tickets>, names: Vec<Vec<String>>) -> Result<Self, rustls::Error> {
        let keys = match before.filter(|before| before.names == names) {
            Some(before) => before.keys.clone(),
            None => Ticketer::new()?,
        };
        Ok(Tickets { names, keys })
    }

    /// What seals and opens tickets.
    pub(super) fn keys(&self) -> Arc<dyn ProducesTickets> {
        self.keys.clone()
    }
}
