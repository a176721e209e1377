//! The command line. Each command is a file in `cli`; what they do is in the library.

mod cli;
mod demo;

/// Chosen by measurement: docs/decisions/0005-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
