//! Sallyport side by side with what people would pick instead, on their own machine.
//!
//! This crate measures; it is no part of the product. `make bench` runs it.

pub mod contest;
pub mod counts;
pub mod data;
pub mod load;
pub mod machine;
pub mod process;
pub mod report;
pub mod run;
pub mod scenario;
