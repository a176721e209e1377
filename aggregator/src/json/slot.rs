//! Slots that are results of branches, and what names them in a template.
//!
//! - `{profile}` is the result of the branch `profile`;
//! - `{profile.$.name}` is one value of it, by a singular query of JSONPath (RFC 9535, section 2.3.5.1);
//! - `{{profile}}` is the text `{profile}`.
//!
//! Anything else in one pair of braces is a mistake and refused; all other texts stand for themselves.

use sallyport_condition::{FieldPath, singular};
use sallyport_config::{Located, Report};
use thiserror::Error;

use super::checked::Checked;
use super::template::Piece;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Which branch, in file order.
    pub(super) branch: usize,
    /// What of its result; empty for all of it.
    pub(super) path: FieldPath,
}

/// Why a template cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SlotError {
    /// It names no branch.
    #[error(
        "`{slot}` names no branch; the branches are {branches}, and the text itself is written `{{{slot}}}`"
    )]
    Unknown {
        /// As written.
        slot: String,
        /// The branches there are.
        branches: String,
    },
    /// What stands behind the branch's name is no path to one value.
    #[error("`{slot}`: {message}")]
    Path {
        /// As written.
        slot: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

impl Slot {
    /// The value, if the branch has a result and that has one there.
    pub(super) fn value(&self, results: &[Option<Checked>]) -> Option<Checked> {
        let result = results.get(self.branch)?.as_ref()?;
        Some(result.whole().find(&self.path)?.to_checked())
    }
}

/// What a string of a template stands for. Its slot, if it is one, goes to the end of `slots`.
pub(super) fn read(text: &str, branches: &[&str], slots: &mut Vec<Slot>) -> Result<Piece, SlotError> {
    let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(Piece::Itself);
    };
    if inside.starts_with('{') && inside.ends_with('}') && inside.len() > 1 {
        return Ok(Piece::Text(inside.to_owned()));
    }
    let (name, query) = match inside.find(".$") {
        Some(dot) => (&inside[..dot], Some(&inside[dot + 1..])),
        None => (inside, None),
    };
    let Some(branch) = branches.iter().position(|branch| *branch == name) else {
        let branches = branches.iter().map(|branch| format!("`{branch}`")).collect::<Vec<_>>().join(", ");
        return Err(SlotError::Unknown { slot: text.to_owned(), branches });
    };
    let path = match query {
        None => FieldPath::default(),
        Some(query) => {
            let mut report = Report::default();
            singular(&Located::nowhere(query.to_owned()), &mut report).ok_or_else(|| SlotError::Path {
                slot: text.to_owned(),
                message: report.to_string().trim().to_owned(),
            })?
        }
    };
    slots.push(Slot { branch, path });
    Ok(Piece::Slot(slots.len() - 1))
}
