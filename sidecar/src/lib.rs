//! What a process beside the edge needs, whatever it does: HTTP/1.1 over a Unix socket, for the edge and for nobody else.
//!
//! A request of a client carries [`CLIENT`], which the edge sets on all that it forwards and deletes from what clients
//! send; who the client is, an [`Introduction`] reads. A request without the header comes from this machine: it may ask
//! for what [`operational`] answers, which for that reason no route of an edge can reach. Who may speak here at all is
//! decided by the socket file, which its owner alone may open.
//!
//! Not here: what a client of the edge is answered, and how the edge reaches a sidecar.

mod socket;
mod serve;
mod introduction;
mod refusal;
mod answer;
mod operations;
mod process_log;
mod program;
mod signals;

pub use answer::{document, problem};
pub use introduction::{CLAIMS, CLIENT, Introduction, request_id};
pub use operations::{Operations, exposition, operational};
pub use program::run;
pub use refusal::Refusal;
pub use serve::serve;
pub use signals::Signals;
pub use socket::bind;
