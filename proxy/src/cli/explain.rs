//! `explain`: what would become of a request.

use std::process::ExitCode;

use clap::Args;
use sallyport_filters::Registry;

use super::{CANNOT, ConfigFile, Done, Format, NO, print_json};
use crate::inspect::{Explanation, Given, Inspection};

/// How many routes people are shown; the nearest come first.
const LOOKED_MAX: usize = 20;

/// Options of `explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The request's method.
    method: String,
    /// The request's URL: `https://api.example.com/v1/batches?limit=5`, or a path alone (give `-H 'Host: ...'` then).
    url: String,
    /// A header of the request, `Name: value`; may be repeated.
    #[arg(long, short = 'H', value_name = "HEADER", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    config: ConfigFile,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Explain {
    pub(super) fn run(self, registry: &Registry) -> Done {
        let inspection = match Inspection::open(&self.config.config, registry) {
            Ok((inspection, _)) => inspection,
            Err(report) => {
                eprint!("{report}");
                return Ok(ExitCode::from(CANNOT));
            }
        };
        let given = Given { method: self.method, url: self.url, headers: self.header };
        let explanation = inspection.explain(&given)?;
        match self.format {
            Format::Json => print_json(&explanation)?,
            Format::Text => print(&explanation),
        }
        Ok(if explanation.route.is_some() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn print(explanation: &Explanation) {
    println!("host     {}", if explanation.host.is_empty() { "(none)" } else { &explanation.host });
    println!("path     {}", explanation.path);
    match (&explanation.route, explanation.refused) {
        (Some(route), _) if explanation.preflight => {
            println!("route    {route}, whose CORS filter answers the preflight");
        }
        (Some(route), _) => println!("route    {route}"),
        (None, Some(status)) => {
            let reason = explanation.reason.as_deref().unwrap_or_default();
            println!("route    none: the edge answers {status}, {reason}");
        }
        (None, None) => println!("route    none"),
    }
    for (name, value) in &explanation.params {
        println!("param    {name} = {value}");
    }
    for (place, filter) in explanation.filters.iter().enumerate() {
        println!("{:8} {}. {filter}", if place == 0 { "filters" } else { "" }, place + 1);
    }
    if let Some(action) = &explanation.action {
        println!("action   {action}");
    }
    if let Some(composed) = &explanation.composed {
        print!("{composed}");
    }
    for (place, looked) in explanation.considered.iter().take(LOOKED_MAX).enumerate() {
        let head = if place == 0 { "looked" } else { "" };
        println!("{head:8} {}: {}", looked.route, looked.verdict);
    }
    if let more @ 1.. = explanation.considered.len().saturating_sub(LOOKED_MAX) {
        println!("         and {more} more, further off; `--format json` has them all");
    }
}
