//! Who somebody is: issuers, their keys, and the check of a token.
//!
//! What `issuers:` says becomes an [`Issuer`]: rules, current keys, revocations. [`Keys`] brings the keys, from files
//! and URLs. A [`Verifier`] turns a token into an [`Identity`]. Where in a request a token stands, and what a route asks of
//! it, is not known here: that is in `sallyport-filters`, as are answers and headers.

mod identity;
pub mod issuer;
mod verifier;
mod token;
mod memory;

// Where keys come from:
pub mod load;
pub mod keys;
pub mod fetch;
pub mod trust;

pub use identity::Identity;
pub use issuer::{Issuer, Issuers};
pub use keys::Keys;
pub use memory::Memory;
pub use token::{Refusal, TokenType};
pub use verifier::{Judgement, Moment, NotVerified, Verified, Verifier, Waiting};
