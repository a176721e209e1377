//! Where secrets come from: the environment and files. The values live here and in [`Secret`](crate::units::Secret),
//! nowhere else; a tree holds only `${NAME}` or `file:path`.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::fault::LITERAL_SECRET;
use crate::node::{Kind, Node};

/// The most bytes that a secret's file may have.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What the secrets of one file stand for. Every node of the file's tree shares it; it is filled once the tree is
/// complete.
#[derive(Default)]
pub(crate) struct Secrets(OnceLock<Values>);

#[derive(Default)]
struct Values {
    base: PathBuf,
    variables: HashMap<String, Option<String>>,
    files: Vec<PathBuf>,
}

/// Neither names nor values.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

impl Secrets {
    /// Looks up every `${NAME}` that the tree holds, once, so that filters can be built later without the
    /// environment.
    pub(crate) fn gather(&self, node: &Node, base: &Path, env: &dyn Fn(&str) -> Option<String>) {
        self.0.get_or_init(|| {
            let mut values = Values { base: base.to_owned(), ..Values::default() };
            values.visit(node, env);
            values
        });
    }

    /// The files that secrets may come from.
    pub(crate) fn files(&self) -> &[PathBuf] {
        self.0.get().map_or(&[], |values| &values.files)
    }

    /// The secret that a text stands for. The error says what is missing, never what was found.
    pub(crate) fn resolve(&self, written: &str) -> Result<String, String> {
        self.0.get().unwrap_or(&Values::default()).resolve(written)
    }
}

impl Values {
    fn visit(&mut self, node: &Node, env: &dyn Fn(&str) -> Option<String>) {
        match node.kind() {
            Kind::Scalar { text, .. } => {
                if let Some(name) = variable(text) {
                    self.variables.entry(name.to_owned()).or_insert_with(|| env(name));
                } else if let Some(path) = text.strip_prefix("file:") {
                    let path = self.base.join(path);
                    if path.is_file() && !self.files.contains(&path) {
                        self.files.push(path);
                    }
                }
            }
            Kind::Sequence(items) => items.iter().for_each(|item| self.visit(item, env)),
            Kind::Mapping(entries) => entries.iter().for_each(|(_, node)| self.visit(node, env)),
        }
    }

    fn resolve(&self, written: &str) -> Result<String, String> {
        let value = if let Some(name) = variable(written) {
            match self.variables.get(name) {
                Some(Some(value)) => value.clone(),
                _ => return Err(format!("the environment variable `{name}` is not set")),
            }
        } else if let Some(path) = written.strip_prefix("file:") {
            self.read(path)?
        } else {
            let hint = "write `${NAME}` for an environment variable or `file:path` for a file";
            return Err(format!("{LITERAL_SECRET}\n{hint}"));
        };
        if value.is_empty() {
            return Err(format!("the secret `{written}` is empty"));
        }
        Ok(value)
    }

    fn read(&self, written: &str) -> Result<String, String> {
        let path = self.base.join(written);
        let shown = path.display();
        let failed =
            |error: std::io::Error| format!("cannot read the secret's file `{shown}`: {}", plain(&error));
        let length = std::fs::metadata(&path).map_err(failed)?.len();
        if length > SECRET_BYTES_MAX {
            return Err(format!("the secret's file `{shown}` is larger than 64 KiB"));
        }
        let bytes = std::fs::read(&path).map_err(failed)?;
        let text =
            String::from_utf8(bytes).map_err(|_| format!("the secret's file `{shown}` is not UTF-8"))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

/// What an error of the file system means, without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}

/// The name in `${NAME}`, if that is the whole text.
pub(crate) fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let first = name.bytes().next()?;
    let valid = !first.is_ascii_digit() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    valid.then_some(name)
}

thread_local! {
    /// The secrets of the file that is being decoded, for types that are read by way of serde's own buffer
    /// (`flatten`, `untagged`) and so have lost sight of their tree.
    static CURRENT: std::cell::RefCell<Option<Arc<Secrets>>> = const { std::cell::RefCell::new(None) };
}

/// Runs `work` with these secrets at hand.
pub(crate) fn within<T>(secrets: Option<&Arc<Secrets>>, work: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(secrets.cloned());
    let result = work();
    CURRENT.set(before);
    result
}

/// The secrets at hand.
pub(crate) fn current() -> Option<Arc<Secrets>> {
    CURRENT.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_value_is_a_variable() {
        assert_eq!(variable("${DB_KEY2}"), Some("DB_KEY2"));
        for text in ["${}", "${2A}", "$A", "x${A}", "${A}x", "${A-b}", "${A B}"] {
            assert_eq!(variable(text), None, "{text}");
        }
    }

    #[test]
    fn says_what_is_missing() {
        let secrets = Secrets::default();
        assert_eq!(secrets.resolve("${X}").unwrap_err(), "the environment variable `X` is not set");
        let error = secrets.resolve("file:/nonexistent/key").unwrap_err();
        assert_eq!(error, "cannot read the secret's file `/nonexistent/key`: no such file");
        assert!(secrets.resolve("hunter2").unwrap_err().starts_with(LITERAL_SECRET));
    }
}
