//! That every contestant composes what its branches sent, before anything is measured.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::is_ours;
use super::parts::{BRANCHES, FAILING, SLOW};
use super::services::{DOCUMENTS, OF_FAULTS};
use crate::contest::{Answer, Request, Running};
use crate::data::Check;

/// The field in which KrakenD says whether all branches are there.
const COMPLETED: &str = "X-Krakend-Completed";

/// All of a contestant's.
pub(super) fn of(contestant: &Running) -> Result<Vec<Check>> {
    let mut seen = Vec::new();
    for branches in BRANCHES {
        for document in DOCUMENTS {
            let path = format!("/compose/{branches}/{}", document.path);
            let answer = good(contestant, &path)?;
            if is_ours(contestant) {
                spliced(&answer, branches, &document.text()).with_context(|| path.clone())?;
            } else {
                equal(&answer, branches, &document.text()).with_context(|| path.clone())?;
            }
        }
        let exactly = if is_ours(contestant) { "to the byte, in order" } else { "by its values" };
        seen.push(format!("{branches} branches: each slot is the service's document {exactly}"));
    }
    let failing = good(contestant, FAILING)?;
    if is_ours(contestant) {
        seen.extend(faults(contestant, &failing)?);
    } else {
        without_last(&failing, &OF_FAULTS.text()).context(FAILING)?;
        seen.push(format!("one of eight fails: 200 with the other seven, {COMPLETED}: false"));
    }
    Ok(seen.into_iter().map(|what| Check { contestant: contestant.name.clone(), what }).collect())
}

fn good(contestant: &Running, path: &str) -> Result<Answer> {
    let answer = Request::get(contestant.port, path).send()?;
    ensure!(answer.status == 200, "{}: {path} is answered with {}", contestant.name, answer.status);
    Ok(answer)
}

/// What the product does over that: it says that something is missing, and which requests cannot do without it.
fn faults(contestant: &Running, failing: &Answer) -> Result<Vec<String>> {
    let slow = good(contestant, SLOW)?;
    for answer in [failing, &slow] {
        ensure!(
            answer.body.ends_with(br#","b7":null}"#) && answer.field("X-Aggregate-Complete") == Some("false"),
            "an answer without a branch does not say so"
        );
    }
    for (path, status) in [("/fault/failing/required", 502), ("/fault/slow/required", 504)] {
        let answer = Request::get(contestant.port, path).send()?;
        ensure!(
            answer.status == status && answer.field("Content-Type") == Some("application/problem+json"),
            "{path} is answered with {}, not with a problem of {status}",
            answer.status
        );
    }
    Ok(vec![
        "one of eight fails: 200 with the other seven".to_owned(),
        "one of eight is slow: null in its place, X-Aggregate-Complete: false".to_owned(),
        "a required branch fails: 502; is too slow: 504".to_owned(),
    ])
}

fn spliced(answer: &Answer, branches: usize, document: &str) -> Result<()> {
    let slots: Vec<String> = (0..branches).map(|n| format!(r#""b{n}":{document}"#)).collect();
    ensure!(answer.body == format!("{{{}}}", slots.join(",")).as_bytes(), "not what the branches sent");
    ensure!(answer.field("X-Aggregate-Complete") == Some("true"), "it does not say that it is complete");
    Ok(())
}

/// Of an answer that is whole, by its values: KrakenD writes its own JSON, in an order of its own.
fn equal(answer: &Answer, branches: usize, document: &str) -> Result<()> {
    ensure!(answer.field(COMPLETED) == Some("true"), "it does not say that it is complete");
    same_parts(answer, branches, document)
}

/// Of an answer that lacks the last of eight branches.
fn without_last(answer: &Answer, document: &str) -> Result<()> {
    ensure!(answer.field(COMPLETED) == Some("false"), "it does not say that a branch is missing");
    same_parts(answer, 7, document)
}

fn same_parts(answer: &Answer, branches: usize, document: &str) -> Result<()> {
    let (parts, document): (Value, Value) =
        (serde_json::from_slice(&answer.body)?, serde_json::from_str(document)?);
    let parts = parts.as_object().context("no object")?;
    let same = (0..branches).all(|n| parts.get(&format!("b{n}")) == Some(&document));
    ensure!(same && parts.len() == branches, "not what the branches sent");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str, complete: &str) -> Answer {
        let fields = vec![("X-Aggregate-Complete".to_owned(), complete.to_owned())];
        Answer { status: 200, fields, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_slot_that_is_missing_moved_or_rewritten_is_noticed() {
        let good = r#"{"b0":{"a": 1.50},"b1":{"a": 1.50}}"#;
        spliced(&answer(good, "true"), 2, r#"{"a": 1.50}"#).unwrap();
        for bad in [
            r#"{"b0":{"a": 1.50}}"#,
            r#"{"b1":{"a": 1.50},"b0":{"a": 1.50}}"#,
            r#"{"b0":{"a":1.5},"b1":{"a":1.5}}"#,
        ] {
            assert!(spliced(&answer(bad, "true"), 2, r#"{"a": 1.50}"#).is_err(), "{bad}");
        }
        assert!(spliced(&answer(good, "false"), 2, r#"{"a": 1.50}"#).is_err());
    }

    #[test]
    fn a_rewritten_answer_has_to_have_each_branch_and_say_whether_it_is_whole() {
        let krakend = |body: &str, completed: &str| Answer {
            fields: vec![(COMPLETED.to_owned(), completed.to_owned())],
            ..answer(body, "")
        };
        let document = r#"{"a": 1.5}"#;
        equal(&krakend(r#"{"b1":{"a":1.5},"b0":{"a":1.5}}"#, "true"), 2, document).unwrap();
        for (bad, completed) in [
            (r#"{"b0":{"a":1.5}}"#, "true"),
            (r#"{"b0":{"a":1.5},"b2":{"a":1.5}}"#, "true"),
            (r#"{"b0":{"a":1.5},"b1":{"a":2}}"#, "true"),
            (r#"{"b0":{"a":1.5},"b1":{"a":1.5},"b2":{"a":1.5}}"#, "true"),
            (r#"{"b0":{"a":1.5},"b1":{"a":1.5}}"#, "false"),
        ] {
            assert!(equal(&krakend(bad, completed), 2, document).is_err(), "{bad} {completed}");
        }
        let seven: Vec<String> = (0..7).map(|n| format!(r#""b{n}":{document}"#)).collect();
        let seven = format!("{{{}}}", seven.join(","));
        without_last(&krakend(&seven, "false"), document).unwrap();
        assert!(without_last(&krakend(&seven, "true"), document).is_err());
        assert!(without_last(&krakend("{}", "false"), document).is_err());
    }
}
