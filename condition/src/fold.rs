//! Deciding folds: `all`, `exists`, `exists_one`, `filter` and `map` over lists and the keys of maps.

use std::rc::Rc;

use crate::error::EvaluationError;
use crate::evaluate::{Outcome, Run, types};
use crate::node::{Fold, FoldParts};
use crate::value::Val;

impl<'a, 'v: 'a> Run<'a, 'v> {
    pub(crate) fn fold(&mut self, fold: Fold, parts: &'a FoldParts) -> Outcome<Val<'a>> {
        let range = self.evaluate(&parts.range)?;
        let (len, keys) = match (range.list_len(), range.map_len()) {
            (Some(len), _) => (len, None),
            (None, Some(len)) => {
                self.spend(len)?;
                (len, Some(range.keys()))
            }
            (None, None) => return Err(types("exists", &range, None)),
        };
        let mut kept = Kept::default();
        let mut result = Ok(false);
        for index in 0..len {
            let element = match &keys {
                Some(keys) => keys.get(index).cloned(),
                None => range.element(index),
            };
            self.locals.push(element.unwrap_or(Val::Null));
            result = self.fold_one(fold, parts, &mut kept);
            self.locals.pop();
            if !matches!(result, Ok(false)) {
                break;
            }
        }
        let decided = result?;
        match fold {
            Fold::All | Fold::Exists if decided => Ok(Val::Bool(fold == Fold::Exists)),
            Fold::All | Fold::Exists => kept.error.map_or(Ok(Val::Bool(fold == Fold::All)), Err),
            Fold::ExistsOne => Ok(Val::Bool(kept.count == 1)),
            Fold::Filter | Fold::Map => Ok(Val::List(Rc::from(kept.list))),
        }
    }

    /// Asks one element; true where it decides the fold.
    fn fold_one(&mut self, fold: Fold, parts: &'a FoldParts, kept: &mut Kept<'a>) -> Outcome<bool> {
        self.spend(1)?;
        match fold {
            Fold::All | Fold::Exists => match self.boolean(&parts.body, "exists") {
                Ok(value) => return Ok(value == (fold == Fold::Exists)),
                Err(EvaluationError::TooMuchWork) => return Err(EvaluationError::TooMuchWork),
                Err(error) => kept.error = kept.error.take().or(Some(error)),
            },
            Fold::ExistsOne => kept.count += usize::from(self.boolean(&parts.body, "exists_one")?),
            Fold::Filter => {
                if self.boolean(&parts.body, "filter")? {
                    kept.list.extend(self.locals.last().cloned());
                }
            }
            Fold::Map => {
                let wanted = match &parts.guard {
                    Some(guard) => self.boolean(guard, "map")?,
                    None => true,
                };
                if wanted {
                    let made = self.evaluate(&parts.body)?;
                    kept.list.push(made);
                }
            }
        }
        Ok(false)
    }
}

/// What a fold has gathered so far.
#[derive(Default)]
struct Kept<'a> {
    error: Option<EvaluationError>,
    count: usize,
    list: Vec<Val<'a>>,
}
