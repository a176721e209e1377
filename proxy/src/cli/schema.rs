//! `schema`: the JSON Schema of routes.yaml, and the reference manual made from it.

use std::process::ExitCode;

use clap::Args;
use sallyport_filters::Registry;

use super::{Done, print_json};

/// Options of `schema`.
#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Print the reference manual in Markdown instead.
    #[arg(long)]
    markdown: bool,
}

impl Schema {
    pub(super) fn run(self, registry: &Registry) -> Done {
        let schema = sallyport_config::schema::schema(|generator| {
            registry.kinds().map(|kind| (kind.name, (kind.schema)(generator))).collect()
        });
        if self.markdown {
            print!("{}", sallyport_config::reference::reference(&schema));
        } else {
            print_json(&schema)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
