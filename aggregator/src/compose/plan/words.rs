//! Words for messages.

use sallyport_config::{Diagnostic, nearest};

/// `` `a`, `b` and `c` ``.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.pop() {
        None => String::new(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} and {last}", quoted.join(", ")),
    }
}

/// Adds to an error about an unknown name which one was probably meant, or which there are.
pub(super) fn known(error: &mut Diagnostic, name: &str, what: &str, all: &[&str]) {
    /// More than these are no help.
    const LISTED_MAX: usize = 12;
    if let Some(near) = nearest(name, all.iter().copied()) {
        error.hint(format!("did you mean `{near}`?"));
    } else if all.is_empty() {
        error.hint(format!("there are no {what} in this configuration"));
    } else if all.len() <= LISTED_MAX {
        error.hint(format!("the {what}: {}", list(all.iter().copied())));
    }
}
