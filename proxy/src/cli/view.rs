//! `view`: copies of views' stores, so that a new node need not read a topic from its beginning.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use sallyport_aggregator::state_folder;
use sallyport_aggregator::views::snapshot::{self, SnapshotError};
use sallyport_aggregator::views::{Files, ViewPlan, Views};
use sallyport_config::nearest;

use super::{CANNOT, ConfigFile, Done};

/// Options of `view`.
#[derive(Debug, Args)]
pub(super) struct View {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Take a copy of a view's store, as of one commit. Whoever keeps the view goes on.
    Export(Copy),
    /// Bring a copy in as the store of a view that has none yet. Nobody may keep the view meanwhile.
    Import(Copy),
}

#[derive(Debug, Args)]
struct Copy {
    /// The view's name.
    name: String,
    /// The copy, one file.
    file: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
}

impl View {
    pub(super) fn run(self) -> Done {
        let (Action::Export(copy) | Action::Import(copy)) = &self.action;
        let loaded = match sallyport_config::load(&copy.config.config, &crate::plan::environment) {
            Ok((loaded, mut report)) => match Views::compile(&loaded.config, &mut report) {
                Some(views) => Ok((loaded, views)),
                None => Err(report),
            },
            Err(report) => Err(report),
        };
        let (loaded, views) = match loaded {
            Ok(loaded) => loaded,
            Err(mut report) => {
                report.sort();
                eprint!("{report}");
                return Ok(ExitCode::from(CANNOT));
            }
        };
        let view = find(&views, &copy.name, &copy.config.config)?;
        let folder = state_folder(&loaded);
        let files = Files::new(&folder, &copy.name);
        match &self.action {
            Action::Export(_) => {
                if !files.store().exists() {
                    return Err(format!(
                        "view `{}` has no store in `{}`: nobody has kept it there yet",
                        copy.name,
                        folder.display()
                    ));
                }
                snapshot::export(&files, &copy.file).map_err(|error| advised(&error))?;
                println!("view `{}` is copied to {}", copy.name, told(&copy.file));
            }
            Action::Import(_) => {
                snapshot::import(&files, view, &copy.file).map_err(|error| advised(&error))?;
                println!(
                    "view `{}` goes on from {}, in {}",
                    copy.name,
                    told(&copy.file),
                    told(&files.store())
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn find<'a>(views: &'a Views, name: &str, config: &Path) -> Result<&'a Arc<ViewPlan>, String> {
    views.find(name).ok_or_else(|| {
        let names = views.all().iter().map(|view| &*view.name);
        let hint = match nearest(name, names.clone()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None if views.all().is_empty() => "; it has no views".to_owned(),
            None => format!("; there are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        format!("`{}` has no view `{name}`{hint}", config.display())
    })
}

/// What is wrong, and what would be right.
fn advised(error: &SnapshotError) -> String {
    match error {
        SnapshotError::Files(error) => format!("{error}\nStop whoever keeps the view, then try again."),
        error => error.to_string(),
    }
}

/// A file and its size.
fn told(file: &Path) -> String {
    let bytes = std::fs::metadata(file).map_or(0, |file| file.len());
    format!("{} ({bytes} bytes)", file.display())
}
