//! `explain-event`: why an event does or does not reach a subject. The bridge answers; this reads the question and prints.

use std::io::Read as _;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use sallyport_config::load::io_words;
use sallyport_config::{Config, Report};
use sallyport_identity::{Issuers, Judgement, Moment, NotVerified, Verifier, load};
use sallyport_kafka::Record;
use sallyport_ws_bridge::Plan;
use sallyport_ws_bridge::explain::{
    Decision, Delivery, EventExplanation, EventQuery, EventShown, SourceExplanation, change,
};
use serde_json::{Value, json};

use super::{CANNOT, ConfigFile, Done, Format, NO, print_json};

/// Bytes of a value, of claims, or of a token that are read.
const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How much of the data people are shown.
const DATA_CHARS_MAX: usize = 400;

/// Options of `explain-event`.
#[derive(Debug, Args)]
pub(super) struct ExplainEvent {
    /// The record's topic.
    #[arg(long, required_unless_present = "view")]
    topic: Option<String>,
    /// Instead of a record of a topic: a change of this view. `--value` is then what has changed: `{"key": "b1", "row": {...}}`,
    /// or `{"key": "b1", "row": null, "was": {...}}`.
    #[arg(long, value_name = "NAME", requires = "value", conflicts_with_all = ["key", "header", "kafka"])]
    view: Option<String>,
    /// The record's key.
    #[arg(long)]
    key: Option<String>,
    /// A header of the record, `name=value`; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The record's value: as it is, `@file`, or `-` for standard input. Without it, a tombstone.
    #[arg(long)]
    value: Option<String>,
    /// The cluster that the record is from. Default: any that has such a topic.
    #[arg(long, value_name = "NAME")]
    kafka: Option<String>,
    /// The claims of the subject, a JSON object, `@file`, or `-`.
    #[arg(long, value_name = "JSON", conflicts_with = "token")]
    claims: Option<String>,
    /// The subject's token, `@file`, or `-`. It is verified if the keys of its issuer are in a file. With neither claims nor
    /// a token, the subject is nobody in particular.
    #[arg(long)]
    token: Option<String>,
    /// What the subject subscribes to, a channel or a pattern such as `batch:*`. Default: the event's own channel.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The client's filter over tags, as in its subscription (`tf`), JSON.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Who subscribes.
struct Subject {
    claims: Option<Value>,
    /// Where the claims are from, for people.
    source: String,
    /// Why the bridge does not let it in.
    refused: Option<String>,
}

impl ExplainEvent {
    pub(super) fn run(self) -> Done {
        let environment = |name: &str| std::env::var(name).ok();
        let (loaded, mut report) = match sallyport_config::load(&self.config.config, &environment) {
            Ok(loaded) => loaded,
            Err(report) => return refused(&report),
        };
        let issuers = load::issuers(&loaded, None, &mut report);
        let plan = Plan::compile(&loaded.config, &issuers, &mut report);
        if report.errors().next().is_some() {
            report.sort();
            return refused(&report);
        }
        let Some(plan) = plan else {
            return Err(format!(
                "`{}` has no `ws_bridge`: no event reaches anybody",
                self.config.config.display()
            ));
        };
        let record = self.record()?;
        let subject = self.subject(&loaded.config, &issuers)?;
        let filter = self.filter.as_deref().map(|text| json_of("--filter", text)).transpose()?;
        let explanation = plan.explain_event(&EventQuery {
            record: &record,
            cluster: self.kafka.as_deref(),
            view: self.view.as_deref(),
            claims: subject.claims.as_ref(),
            refused: subject.refused.clone(),
            subscription: self.channel.as_deref(),
            filter: filter.as_ref(),
        })?;
        match self.format {
            Format::Json => {
                let mut told = serde_json::to_value(&explanation).map_err(|error| error.to_string())?;
                told["subject"] = json!({ "claims": subject.claims, "source": subject.source });
                print_json(&told)?;
            }
            Format::Text => print(&explanation, &subject, &record, self.view.as_deref()),
        }
        Ok(if explanation.sees { ExitCode::SUCCESS } else { ExitCode::from(NO) })
    }

    fn record(&self) -> Result<Record, String> {
        let topic = self.topic.as_deref().unwrap_or_default();
        if let Some((view, document)) = self.view.as_ref().zip(self.value.as_deref()) {
            return change(view, topic, &input("--value", document)?);
        }
        let headers = self.header.iter();
        Ok(Record {
            topic: topic.into(),
            partition: 0,
            offset: 0,
            timestamp: 0,
            key: self.key.clone().map(Into::into),
            headers: headers.map(|(name, value)| (name.as_str().into(), value.clone().into())).collect(),
            value: self.value.as_deref().map(|given| input("--value", given)).transpose()?.map(Into::into),
        })
    }

    fn subject(&self, config: &Config, issuers: &Issuers) -> Result<Subject, String> {
        if let Some(given) = &self.claims {
            let claims = json_of("--claims", &text("--claims", given)?)?;
            if !claims.is_object() {
                return Err("--claims is a JSON object, such as '{\"sub\": \"alice\"}'".to_owned());
            }
            return Ok(Subject {
                claims: Some(claims),
                source: "by the claims given".to_owned(),
                refused: None,
            });
        }
        match &self.token {
            Some(given) => judge(text("--token", given)?.trim(), config, issuers),
            None => Ok(Subject {
                claims: None,
                source: "there are neither claims nor a token".to_owned(),
                refused: None,
            }),
        }
    }
}

fn refused(report: &Report) -> Done {
    eprint!("{report}");
    Ok(ExitCode::from(CANNOT))
}

/// Verifies a token as far as that can be done without fetching anything.
fn judge(token: &str, config: &Config, issuers: &Issuers) -> Result<Subject, String> {
    let claims =
        decoded(token).ok_or("--token is not a JWT: three parts in base64url with points between them")?;
    let own = config.ws_bridge.as_ref().map(|bridge| bridge.issuers.as_slice()).unwrap_or_default();
    // Without issuers of its own, the bridge believes the filters of its routes.
    let all = config.issuers.iter().filter(|_| own.is_empty()).map(|(name, _)| name);
    let verifier = Verifier::<()>::new(issuers, own.iter().chain(all), &mut Report::default());
    let judged = verifier.map(|verifier| verifier.judge(token.as_bytes(), Moment::now(), |_| ()));
    Ok(match judged {
        Some(Judgement::Verified(verified) | Judgement::Remembered(verified)) => Subject {
            claims: Some(Value::clone(&verified.identity.claims)),
            source: format!("by a token of the issuer `{}`, verified", verified.identity.issuer),
            refused: None,
        },
        Some(Judgement::Refused(refusal)) => Subject {
            claims: Some(claims),
            source: "by a token that is refused".to_owned(),
            refused: Some(NotVerified::Refused(refusal).to_string()),
        },
        Some(Judgement::Wait(_) | Judgement::Unavailable) => Subject {
            claims: Some(claims),
            source: "by a token that was not verified: its issuer's keys are not in a file".to_owned(),
            refused: None,
        },
        None => Subject {
            claims: Some(claims),
            source: "by a token that was not verified: there is no issuer, or two have the same `issuer`"
                .to_owned(),
            refused: None,
        },
    })
}

/// The claims of a token, whoever has signed it.
fn decoded(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.is_object().then_some(claims)
}

/// What is given itself, in a file (`@path`), or on standard input (`-`).
fn input(option: &str, given: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = match given.strip_prefix('@') {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| format!("cannot read `{path}`: {}", io_words(&error))),
        None if given == "-" => std::io::stdin()
            .take(INPUT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("cannot read standard input: {}", io_words(&error))),
        None => return Ok(given.as_bytes().to_vec()),
    };
    if read? as u64 > INPUT_BYTES_MAX {
        return Err(format!("{option} has more than {INPUT_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

fn text(option: &str, given: &str) -> Result<String, String> {
    String::from_utf8(input(option, given)?).map_err(|_| format!("{option} is not UTF-8"))
}

fn json_of(option: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{option} is not JSON: {error}"))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a header is written `name=value`")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn print(explanation: &EventExplanation, subject: &Subject, record: &Record, view: Option<&str>) {
    line("seen", &format!("{}: {}", if explanation.sees { "yes" } else { "no" }, explanation.because));
    let user = match explanation.user.as_str() {
        "" => "nobody in particular",
        user => user,
    };
    line("subject", &format!("{user}, {}", subject.source));
    match view {
        Some(view) => line("view", view),
        None => line("topic", &record.topic),
    }
    for source in &explanation.sources {
        println!();
        print_source(source);
    }
}

fn print_source(source: &SourceExplanation) {
    let what = match &source.view {
        Some(view) => format!("view {view}"),
        None => source.topics.join(", "),
    };
    line(&format!("source {}", source.source), &format!("{what}: {}", source.because));
    if let Some(when) = &source.when {
        print_decision("when", when);
    }
    if let Some(event) = &source.event {
        print_event(event);
    }
    if let Some(delivery) = &source.delivery {
        print_delivery(delivery);
    }
}

fn print_event(event: &EventShown) {
    let key = event.key.as_ref().map_or_else(String::new, |key| format!(", key `{key}`"));
    line("event", &format!("channel `{}`{key}", event.channel));
    for (place, (name, value)) in event.tags.iter().enumerate() {
        line(if place == 0 { "tags" } else { "" }, &format!("{name} = {value}"));
    }
    let data = event.data.get();
    let shown: String = data.chars().take(DATA_CHARS_MAX).collect();
    match data.len() - shown.len() {
        0 => line("data", &shown),
        more => line("data", &format!("{shown} ... and {more} bytes more; `--format json` has them all")),
    }
}

fn print_delivery(delivery: &Delivery) {
    let how = if delivery.joined { ", which the server does by itself" } else { "" };
    let token = if delivery.needs_token { ", with a token for it" } else { "" };
    line("subscribe", &format!("to `{}`{how}{token}", delivery.subscription));
    match &delivery.subscribe_if {
        Some(condition) => print_decision("", condition),
        None => line("", "everybody may"),
    }
    print_decision("visible_to", &delivery.visible_to);
    if let Some(passes) = delivery.filter_passes {
        line("filter", if passes { "passes" } else { "does not pass" });
    }
    let replay = &delivery.replay;
    line(
        "replay",
        &format!("{}, at most {} events and {} of a channel", replay.window, replay.events, replay.bytes),
    );
}

fn print_decision(head: &str, decision: &Decision) {
    let verdict = match (&decision.error, decision.holds) {
        (Some(error), _) => format!("no, because {error}"),
        (None, true) => "yes".to_owned(),
        (None, false) => "no".to_owned(),
    };
    line(head, &format!("{}: {verdict}", decision.condition));
    for read in &decision.reads {
        match &read.value {
            Some(value) => line("", &format!("  {} = {value}", read.field)),
            None => line("", &format!("  {} is missing", read.field)),
        }
    }
}

fn line(head: &str, text: &str) {
    println!("{head:11} {text}");
}
