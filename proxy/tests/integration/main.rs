//! The commands as a script or an operator uses them: the program itself, its output and its exit codes. What the edge
//! does with requests is told by the stories of the test kit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod golden;
mod examples;
mod check;
mod explain;
mod explain_event;
mod diff;
mod schema;
mod token;
mod view;
mod run;
mod demo;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const LONG_SECRET: &str = "0123456789abcdef0123456789abcdef";
const SHORT_SECRET: &str = "too-short";

/// What a command said and ended with.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// `sallyport` with the environment of a test and nothing else, in this folder.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
    command.current_dir(folder).env_clear();
    command.env("LONG_SECRET", LONG_SECRET).env("SHORT_SECRET", SHORT_SECRET);
    command
}

/// Runs it to its end.
fn sallyport(folder: &Path, arguments: &[&str]) -> Ran {
    ran(command(folder).args(arguments))
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the program can be started");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    Ran {
        code: output.status.code().expect("the program ended by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl Ran {
    /// Fails the test unless it ended with this code.
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stderr, self.stdout);
        self
    }

    /// Its output, which must be JSON and nothing else.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stderr, self.stdout))
    }
}
