//! The drawing: branches in the order in which they start, those that start together under one line.

use std::fmt;

use sallyport_config::units::{ByteSize, Timespan};

use super::{Explained, ExplainedBranch, Worst};

/// ```text
/// GET /v1/overview: at most 10s and 8MiB, for identified clients
/// ├─ at once
/// │  ├─ profile  GET users/v1/users/{claims.sub} · 2s · required
/// │  └─ batches  view batches · 500ms · else null
/// ├─ then
/// │  └─ files    GET files/v1/files/{item.$.id} · after batches · …
/// └─ worst case 2.5s: batches 500ms → files 2s
/// ```
impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = if self.authenticated { "identified clients" } else { "everybody" };
        let (time, bytes) = (Timespan::from_millis(self.timeout_ms), ByteSize(self.bytes_max as u64));
        writeln!(f, "{}: at most {time} and {bytes}, for {whom}", self.route)?;
        let width = self.branches.iter().map(|branch| branch.name.len()).max().unwrap_or_default();
        let levels = self.branches.iter().map(|branch| branch.level).max().unwrap_or_default();
        for level in 1..=levels {
            let together: Vec<&ExplainedBranch> =
                self.branches.iter().filter(|branch| branch.level == level).collect();
            writeln!(f, "├─ {}", if level == 1 { "at once" } else { "then" })?;
            for (index, branch) in together.iter().enumerate() {
                let corner = if index + 1 == together.len() { '└' } else { '├' };
                writeln!(f, "│  {corner}─ {:width$}  {}", branch.name, branch.parts().join(" · "))?;
            }
        }
        writeln!(f, "└─ {}", self.worst)
    }
}

impl ExplainedBranch {
    fn parts(&self) -> Vec<String> {
        let mut parts = vec![self.asks.clone()];
        if !self.after.is_empty() {
            parts.push(format!("after {}", self.after.join(", ")));
        }
        parts.extend(self.when.as_ref().map(|when| format!("when {}", when.trim())));
        let time = Timespan::from_millis(self.timeout_ms);
        match &self.each {
            None => parts.push(time.to_string()),
            Some(each) => {
                let cut = if each.beyond == "cut" { ", the rest cut" } else { "" };
                parts.push(format!(
                    "for each of {}, at most {}{cut}, {} at a time",
                    each.list, each.max, each.concurrency
                ));
                parts.push(format!("{time} each"));
            }
        }
        if self.retries > 0 {
            parts.push(format!("{} more on {}", self.retries, self.retry_on.join(", ")));
        }
        parts.push(match self.on_error {
            "fail" => "required".to_owned(),
            "omit" => "else left out".to_owned(),
            "value" => "else a fixed value".to_owned(),
            other => format!("else {other}"),
        });
        if !self.pass_statuses.is_empty() {
            let statuses: Vec<String> = self.pass_statuses.iter().map(u16::to_string).collect();
            parts.push(format!("passes on {}", statuses.join(", ")));
        }
        if let Some(cache) = &self.cache {
            let ttl = Timespan::from_millis(cache.ttl_ms);
            let whom = match (cache.shared, cache.vary.is_empty()) {
                (true, true) => " for everybody".to_owned(),
                (true, false) => format!(" for everybody, by {}", cache.vary.join(", ")),
                (false, true) => String::new(),
                (false, false) => format!(" by {}", cache.vary.join(", ")),
            };
            parts.push(format!("kept {ttl}{whom}"));
        }
        parts
    }
}

/// `worst case 2.5s: batches 500ms → files 2 × 1s`.
impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leg = |leg: &super::Leg| {
            let time = Timespan::from_millis(leg.timeout_ms);
            match leg.rounds {
                1 => format!("{} {time}", leg.branch),
                rounds => format!("{} {rounds} × {time}", leg.branch),
            }
        };
        let legs: Vec<String> = self.path.iter().map(leg).collect();
        let cut = if self.cut_by_timeout { ", cut by the answer's timeout" } else { "" };
        write!(f, "worst case {}{cut}: {}", Timespan::from_millis(self.ms), legs.join(" → "))
    }
}
