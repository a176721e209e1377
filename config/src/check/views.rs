//! Views and the aggregator that keeps them: names that must be known, sensible numbers, files that can be. Expressions,
//! conditions and the fields of indexes are read where views are compiled.

use std::collections::HashSet;

use crate::aggregator::Aggregator;
use crate::check::{Facts, clusters, sockets, topics};
use crate::file::Config;
use crate::located::Located;
use crate::report::Report;
use crate::view::View;

/// The most rows of a page.
const PAGE_MAX: usize = 1000;

/// The largest row, in bytes: rows are held in memory, several at a time.
const ROW_BYTES_MAX: u64 = 16 * 1024 * 1024;

pub(super) fn check(config: &Config, facts: &Facts, report: &mut Report) {
    if let Some(aggregator) = &config.aggregator {
        check_aggregator(aggregator, report);
    }
    for (name, view) in config.views.iter() {
        if facts.is_sound(name.at) {
            check_topics(view, facts, report);
            check_numbers(name, view, report);
            check_indexes(view, report);
        }
    }
}

fn check_aggregator(aggregator: &Located<Aggregator>, report: &mut Report) {
    if let Some(socket) = &aggregator.socket {
        sockets::check(socket, "run/aggregator.sock", report);
    }
    if let Some(state) = aggregator.state.as_ref().filter(|state| state.is_empty() || state.contains('\0')) {
        report.error(state.at, format!("`{}` is not the path of a folder", state.value)).hint(
            "such as `state`, relative to this file, or `/var/lib/sallyport`; leave it out for `state`",
        );
    }
    let limits = &aggregator.limits;
    for (name, zero) in [("in_flight", limits.in_flight == 0), ("memory", limits.memory.0 == 0)] {
        if zero {
            report.error(aggregator.at, format!("`{name}` of the aggregator's limits may not be 0"));
        }
    }
}

fn check_topics(view: &Located<View>, facts: &Facts, report: &mut Report) {
    clusters::check("view", view.kafka.as_ref(), view.at, facts, report);
    let read = &view.topic.0;
    for (index, topic) in read.iter().enumerate() {
        topics::check(topic, false, report);
        if read[..index].contains(topic) {
            report.error(topic.at, format!("the topic `{}` stands here twice", topic.value));
        }
    }
    let Some(letters) = &view.dead_letter else { return };
    topics::check(letters, false, report);
    if read.contains(letters) {
        report
            .error(letters.at, format!("the view reads its own dead letters, `{}`", letters.value))
            .hint("a record that cannot be folded would go round for ever: take a topic it does not read");
    }
}

fn check_numbers(name: &Located<String>, view: &Located<View>, report: &mut Report) {
    let mut refuse = |message: String, hint: &str| {
        let error = report.error(name.at, format!("{message} in the view `{}`", name.value));
        if !hint.is_empty() {
            error.hint(hint);
        }
    };
    let query = &view.query;
    if !(1..=PAGE_MAX).contains(&query.max_page) {
        refuse(format!("`max_page` is 1 to {PAGE_MAX}, found {},", query.max_page), "200 is the default");
    } else if !(1..=query.max_page).contains(&query.page) {
        refuse(
            format!("`page` is 1 to `max_page`, {}, found {},", query.max_page, query.page),
            "it is what a client gets that names no `limit`",
        );
    }
    if query.timeout.is_zero() {
        refuse("`timeout` may not be 0".to_owned(), "2s is the default");
    }
    if view.rows_max == 0 {
        refuse("`rows_max` may not be 0".to_owned(), "10000000 is the default");
    }
    if !(1..=ROW_BYTES_MAX).contains(&view.row_bytes.0) {
        refuse(format!("`row_bytes` is 1B to 16MiB, found {},", view.row_bytes), "64KiB is the default");
    }
    if let Some(unique) = view.unique.as_ref().filter(|unique| unique.keep == 0) {
        report.error(unique.at, "`keep` is 0, so no duplicate would be known").hint("1000000 is the default");
    }
}

/// Indexes that are the same, however they are spaced.
fn check_indexes(view: &View, report: &mut Report) {
    let mut known = HashSet::new();
    for index in &view.indexes {
        let fields: Vec<&str> = index.split(',').map(str::trim).collect();
        if fields.iter().any(|field| field.is_empty()) {
            report
                .error(index.at, format!("`{}` is no list of fields", index.value))
                .hint("write a field, or several with commas: `\"owner, created_at\"`");
        } else if !known.insert(fields) {
            report.error(index.at, format!("the index `{}` stands here twice", index.value));
        }
    }
}
