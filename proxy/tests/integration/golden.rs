//! Each `golden/*.yaml` is a file that `check` has something against (`check --strict` for `strict-*`); the `.txt` beside
//! it is exactly what an operator sees, and the exit code. `UPDATE_GOLDEN=1` writes them anew: read the difference before
//! you commit it. What can be said without filters and files has golden files in the config crate.

use std::fs;
use std::path::{Path, PathBuf};

use sallyport_testkit::{Certificates, Tokens};
use tempfile::TempDir;

use crate::{LONG_SECRET, SHORT_SECRET, sallyport};

/// The folder that the cases are checked in, with the files they name.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let put = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    for part in ["tls", "keys"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    let certificates = Certificates::new();
    for name in ["a", "b"] {
        let leaf = certificates.leaf(&["localhost"]);
        put(&format!("tls/{name}.crt"), &fs::read_to_string(leaf.cert).unwrap());
        put(&format!("tls/{name}.key"), &fs::read_to_string(leaf.key).unwrap());
    }
    put("tls/text.pem", "This is a text.\n");
    put("tls/garbled.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    put("keys/jwks.json", &Tokens::new("https://id.example.com/", "platform").jwks().to_string());
    put("keys/list.json", "[1, 2]");
    put("keys/empty.json", "{\"keys\": []}");
    put(
        "keys/private.json",
        r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "d": "AAAA", "x": "", "y": ""}]}"#,
    );
    folder
}

fn cases() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_file_is_judged_with_exactly_these_words() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let folder = folder();
    let cases = cases();
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    let mut different = Vec::new();
    for path in cases {
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::copy(&path, folder.path().join(name)).unwrap();
        let ran = match name.starts_with("strict-") {
            true => sallyport(folder.path(), &["check", "--strict", name]),
            false => sallyport(folder.path(), &["check", name]),
        };
        let said = format!("{}\n{}\nexit code {}\n", ran.stderr, ran.stdout.trim_end(), ran.code);
        for secret in [LONG_SECRET, SHORT_SECRET] {
            assert!(!said.contains(secret), "{name}: a secret is in the report");
        }
        let expected = path.with_extension("txt");
        if update {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(&said) {
            different.push(format!("--- {name}\n{said}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
