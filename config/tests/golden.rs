//! Each `golden/*.yaml` is a bad file; the `.txt` beside it is the exact report. `UPDATE_GOLDEN=1` writes the reports
//! anew: read the difference before you commit it.

#![allow(clippy::unwrap_used, reason = "what a test sets up itself is there")]

use std::path::{Path, PathBuf};

use sallyport_config::load_text;

fn env(name: &str) -> Option<String> {
    match name {
        "LONG_SECRET" => Some("0123456789abcdef0123456789abcdef".to_owned()),
        "SHORT_SECRET" => Some("too-short-by-far".to_owned()),
        _ => None,
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_bad_file_is_refused_with_exactly_this() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let cases = cases();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let mut different = Vec::new();
    for path in cases {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // cargo runs tests in the package's folder: the names of included files are the same everywhere.
        let report = match load_text(name, &text, Path::new("tests/golden"), &env) {
            Ok(_) => panic!("{name} is accepted"),
            Err(report) => report.to_string(),
        };
        for secret in ["LONG_SECRET", "SHORT_SECRET"].iter().filter_map(|name| env(name)) {
            assert!(!report.contains(&secret), "{name}: a secret is in the report");
        }
        let expected = path.with_extension("txt");
        if update {
            std::fs::write(&expected, &report).unwrap();
        } else if std::fs::read_to_string(&expected).ok().as_deref() != Some(&report) {
            different.push(format!("--- {name}\n{report}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
