//! Who somebody is: issuers, their keys, and the check of a token.
//!
//! What `issuers:` says becomes an [`Issuer`]: rules, current keys, revocations. [`Keys`] brings the keys, from files
//! and URLs. A token becomes an [`Identity`]. Where in a request a token stands, and what a route asks of
//! it, is not known here: that is in `sallyport-filters`, as are answers and headers.

pub mod identity;
pub mod issuer;
pub mod token;
pub mod memory;

// Where keys come from:
pub mod keys;
pub mod fetch;
pub mod trust;

pub use identity::Identity;
pub use issuer::{Issuer, Issuers};
pub use keys::Keys;
