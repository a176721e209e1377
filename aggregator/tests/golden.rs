//! Each `golden/compose-*.yaml` is a file that the loader takes. The `.txt` beside it is what its compositions are: their
//! drawings, or the exact report of why there are none; warnings in both cases. `UPDATE_GOLDEN=1` writes them anew: read the
//! difference before you commit it.

#![allow(clippy::unwrap_used, reason = "what a test sets up itself is there")]

use std::path::{Path, PathBuf};

use sallyport_aggregator::compose::plan::Compositions;
use sallyport_config::load_text;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let is_case = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("compose-") && name.ends_with(".yaml")
    };
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_case).collect();
    cases.sort();
    cases
}

/// Drawings and warnings, or errors and warnings.
fn outcome(name: &str, text: &str) -> String {
    let (loaded, mut report) = match load_text(name, text, Path::new("tests/golden"), &|_| None) {
        Ok(loaded) => loaded,
        Err(report) => panic!("{name} is not even loaded:\n{report}"),
    };
    let upstreams = sallyport_upstreams::load(&loaded, None, &mut report);
    let compositions = Compositions::compile(&loaded.config, &upstreams, &mut report);
    assert_eq!(compositions.is_some(), report.is_empty(), "{name}: an outcome without a word\n{report}");
    let mut out = String::new();
    for composition in compositions.iter().flat_map(Compositions::iter) {
        out.push_str(&composition.explain().to_string());
        out.push('\n');
    }
    out + &report.to_string()
}

#[test]
fn every_file_makes_exactly_these_compositions() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let cases = cases();
    assert!(cases.len() >= 12, "only {} cases", cases.len());
    let mut different = Vec::new();
    for path in cases {
        let name = path.file_name().unwrap().to_str().unwrap();
        let found = outcome(name, &std::fs::read_to_string(&path).unwrap());
        let expected = path.with_extension("txt");
        if update {
            std::fs::write(&expected, &found).unwrap();
        } else if std::fs::read_to_string(&expected).ok().as_deref() != Some(&found) {
            different.push(format!("--- {name}\n{found}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
