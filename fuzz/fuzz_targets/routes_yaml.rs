//! Whatever an operator writes is read or refused, never a panic, and what is read compiles to a table or is refused.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sallyport::route::Table;

fuzz_target!(|text: &str| {
    // What other files hold is no part of the input.
    if text.contains("include") || text.contains("file:") {
        return;
    }
    match sallyport_config::load_text("routes.yaml", text, Path::new("."), &|_| None) {
        Ok((loaded, mut report)) => {
            Table::build(&loaded.config.routes, &mut report);
            let _ = (report.to_string(), report.to_json());
        }
        Err(report) => {
            assert!(!report.is_empty(), "a refusal without an error");
            let _ = (report.to_string(), report.to_json());
        }
    }
});
