//! `check`: everything a start would refuse, and with `--strict` what a careful operator would not leave so.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sallyport_config::Report;
use sallyport_filters::Registry;
use serde_json::json;

use super::{Done, Format, NO, print_json};
use crate::inspect::Inspection;

/// Options of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The configuration file.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
    /// Apply the security rules too, and take every warning for an error.
    #[arg(long)]
    strict: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Check {
    pub(super) fn run(self, registry: &Registry) -> Done {
        let (counts, report) = match Inspection::open(&self.file, registry) {
            Ok((inspection, mut report)) => {
                if self.strict {
                    inspection.strict(&mut report);
                }
                (Some(inspection.counts()), report)
            }
            Err(report) => (None, report),
        };
        let findings = report.diagnostics().len();
        let well = counts.is_some() && !(self.strict && findings > 0);
        match self.format {
            Format::Json => print_json(&json!({ "ok": well, "findings": report.to_json() }))?,
            Format::Text => self.print(counts, &report),
        }
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(NO) })
    }

    fn print(&self, counts: Option<(usize, usize, usize)>, report: &Report) {
        if !report.diagnostics().is_empty() {
            eprint!("{report}");
        }
        let (errors, warnings) = (report.errors().count(), report.warnings().count());
        match counts {
            Some((routes, upstreams, chains)) => println!(
                "{}: {}, {}, {}; {}",
                self.file.display(),
                many(routes, "route"),
                many(upstreams, "upstream"),
                many(chains, "chain"),
                many(warnings, "warning")
            ),
            None => {
                println!("{}: {}, {}", self.file.display(), many(errors, "error"), many(warnings, "warning"));
            }
        }
    }
}

/// `1 route`, `2 routes`.
fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
