//! The order of branches: no branch waits for itself, and not too many for each other.

use sallyport_config::{Located, Report};

use super::{Composition, DEPTH_MAX};

/// Which branches each waits for, by index.
pub(super) type Edges = Vec<Vec<usize>>;

/// Whether the branches can be run at all: without a cycle, and at most [`DEPTH_MAX`] deep.
pub(super) fn check(names: &[&Located<String>], after: &Edges, report: &mut Report) -> bool {
    if let Some(cycle) = cycle(after) {
        let words: Vec<&str> =
            cycle.iter().filter_map(|branch| names.get(*branch).map(|name| name.as_str())).collect();
        let at = cycle.first().and_then(|first| names.get(*first)).map(|name| name.at).unwrap_or_default();
        report
            .error(at, format!("these branches wait for each other: `{}`", words.join(" → ")))
            .hint("`a → b` is: `a` needs `b`, or uses its result; one of them has to do without");
        return false;
    }
    let levels = levels(after);
    let Some((deepest, level)) = levels.iter().copied().enumerate().max_by_key(|(_, level)| *level) else {
        return true;
    };
    if level > DEPTH_MAX {
        let mut way = vec![deepest];
        while let Some(next) = way.last().and_then(|last| {
            after
                .get(*last)?
                .iter()
                .copied()
                .max_by_key(|before| levels.get(*before).copied().unwrap_or_default())
        }) {
            way.push(next);
        }
        let words: Vec<&str> =
            way.iter().filter_map(|branch| names.get(*branch).map(|name| name.as_str())).collect();
        let at = names.get(deepest).map(|name| name.at).unwrap_or_default();
        report
            .error(
                at,
                format!(
                    "{level} branches wait for each other in a row, at most {DEPTH_MAX} may: `{}`",
                    words.join(" → ")
                ),
            )
            .hint(
                "each adds its whole time to the client's; a service that asks the others itself is faster",
            );
        return false;
    }
    true
}

/// Of each branch how many run in a row until it has ended, itself counted. Without a cycle only.
pub(crate) fn levels_of(composition: &Composition) -> Vec<usize> {
    levels(&composition.branches.iter().map(|branch| branch.after.to_vec()).collect())
}

fn levels(after: &Edges) -> Vec<usize> {
    let mut levels = vec![1; after.len()];
    // Each round settles one more level.
    for _ in 0..after.len() {
        for (branch, before) in after.iter().enumerate() {
            let deepest = before.iter().filter_map(|before| levels.get(*before)).max();
            levels[branch] = deepest.map_or(1, |deepest| deepest + 1);
        }
    }
    levels
}

/// A cycle, its first branch at both ends; that of the branch that comes first in the file.
fn cycle(after: &Edges) -> Option<Vec<usize>> {
    (0..after.len()).find_map(|start| {
        let mut way = vec![start];
        let mut seen = vec![false; after.len()];
        back_to(start, after, &mut way, &mut seen).then_some(way)
    })
}

/// Goes on from the end of the way until it is at the start again. Not deeper than there are branches.
fn back_to(start: usize, after: &Edges, way: &mut Vec<usize>, seen: &mut [bool]) -> bool {
    let next = way.last().and_then(|last| after.get(*last)).cloned().unwrap_or_default();
    for branch in next {
        if branch == start {
            way.push(start);
            return true;
        }
        if !std::mem::replace(&mut seen[branch], true) {
            way.push(branch);
            if back_to(start, after, way, seen) {
                return true;
            }
            way.pop();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether branches can be taken away one by one, each when nothing it waits for is left.
    fn can_be_run(after: &Edges) -> bool {
        let mut left: Vec<usize> = (0..after.len()).collect();
        while !left.is_empty() {
            let before = left.len();
            let waiting = left.clone();
            left.retain(|branch| after[*branch].iter().any(|other| waiting.contains(other)));
            if left.len() == before {
                return false;
            }
        }
        true
    }

    proptest! {
        #[test]
        fn a_cycle_is_found_where_there_is_one(after in prop::collection::vec(prop::collection::vec(0usize..7, 0..3), 7)) {
            match cycle(&after) {
                None => {
                    prop_assert!(can_be_run(&after));
                    let levels = levels(&after);
                    for (branch, before) in after.iter().enumerate() {
                        let deepest = before.iter().map(|before| levels[*before]).max().unwrap_or_default();
                        prop_assert_eq!(levels[branch], deepest + 1);
                    }
                }
                Some(way) => {
                    prop_assert!(!can_be_run(&after));
                    prop_assert!(way.len() > 1 && way.first() == way.last());
                    prop_assert!(way.windows(2).all(|step| after[step[0]].contains(&step[1])));
                }
            }
        }
    }
}
