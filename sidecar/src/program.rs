//! A sidecar as a program: its log, its runtime, and how it ends.

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;

use crate::process_log;

/// Runs a program to its end. Why it fails goes to standard error.
pub fn run<E: Display>(program: impl Future<Output = Result<(), E>>) -> ExitCode {
    process_log::start();
    let failure = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(program).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match failure {
        None => ExitCode::SUCCESS,
        Some(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
