//! The program `sallyport`: the command line of the library, with the standard filters.

use sallyport_filters::Registry;

/// Chosen by measurement: docs/decisions/0005-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    sallyport::command_line(Registry::standard())
}
