//! What every scenario needs to let contestants do the same work in turn: who there is, their configurations, starting
//! them, asking them once, putting load on them, and keeping the figures. What is done and measured is the scenarios' affair.

pub mod answer;
pub mod backend;
pub mod calls;
pub mod client;
pub mod entry;
pub mod h2load;
pub mod open;
pub mod rival;
pub mod samples;
pub mod settings;
pub mod site;
pub mod template;
pub mod tokens;
pub mod wrk;

pub use answer::{Answer, Request};
pub use backend::Backend;
pub use calls::Calls;
pub use client::Client;
pub use entry::{Entry, Running, start_all};
pub use h2load::OverTls;
pub use rival::{
    CADDY, CENTRIFUGO, ENVOY, HAPROXY, KRAKEND, NGINX, PINGORA, RIVALS, Rival, SALLYPORT, TRAEFIK,
};
pub use samples::Samples;
pub use settings::{Round, Settings};
pub use tokens::{Issuer, Signature};
