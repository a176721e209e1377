//! CPU time of composed answers, against the plain requests that they stand for.

use std::collections::HashMap;

use anyhow::Result;

use super::BRANCHES;
use super::requests::Requests;
use crate::contest::{Round, Running, Samples, Settings};
use crate::data::{Better, Goal, Measure};
use crate::scenario::compose::services::{DOCUMENTS, Document};
use crate::scenario::compose::{OWN, is_ours};

/// Few, so that what is measured is work and not a queue.
const CONNECTIONS: u32 = 4;
/// Of the work of a second, what a gateway gets that decodes and encodes every document.
const DECODING_SHARE: u64 = 4;

/// CPU time by number and size of branches.
pub(crate) struct Cpu {
    samples: Samples,
    documents: &'static [Document],
    /// Answers a second by contestant and path, as last seen.
    rates: HashMap<(String, String), f64>,
    rival: Option<&'static str>,
}

impl Cpu {
    pub(crate) fn new(settings: &Settings) -> Cpu {
        let samples = Samples::new("cpu", "CPU time a composed answer", "µs", Better::Lower).over(OWN);
        let documents = if settings.quick { &DOCUMENTS[..2] } else { &DOCUMENTS };
        Cpu { samples, documents, rates: HashMap::new(), rival: None }
    }

    /// A turn of everybody.
    pub(crate) fn round(&mut self, settings: &Settings, round: Round, contestants: &[Running]) -> Result<()> {
        for document in self.documents {
            for contestant in contestants {
                let plain = is_ours(contestant)
                    .then(|| {
                        self.cost(settings, contestant, &format!("/json/{}", document.path), 1, document)
                    })
                    .transpose()?;
                for branches in BRANCHES {
                    let case = case(branches, document);
                    if let Some(plain) = plain {
                        self.samples.add(round, OWN, &case, None, plain * branches as f64);
                    } else {
                        self.rival = Some(contestant.rival.name);
                    }
                    let path = format!("/compose/{branches}/{}", document.path);
                    let cost = self.cost(settings, contestant, &path, branches, document)?;
                    self.samples.add(round, &contestant.name, &case, None, cost);
                }
            }
        }
        Ok(())
    }

    fn cost(
        &mut self,
        settings: &Settings,
        contestant: &Running,
        path: &str,
        branches: usize,
        document: &Document,
    ) -> Result<f64> {
        // Some 12,000 small answers are a second of work; the kernel counts CPU time by 10 ms.
        let work = (branches as u64 + 1) * (40 + document.bytes as u64 / 1024);
        let share = if is_ours(contestant) { 1 } else { DECODING_SHARE };
        let count = (u64::from(settings.seconds) * 1_000_000 / work / share).max(40);
        let requests = Requests::new(contestant, path, count, CONNECTIONS)?;
        let mut rate = 0.0;
        let cost = contestant.cpu_us_each(|| {
            rate = requests.send()?;
            Ok(count)
        })?;
        self.rates.insert((contestant.name.clone(), path.to_owned()), rate);
        Ok(cost)
    }

    /// Answers a second of a contestant's path, as last seen.
    pub(crate) fn rate(&self, contestant: &Running, path: &str) -> Option<f64> {
        self.rates.get(&(contestant.name.clone(), path.to_owned())).copied()
    }

    /// Against what we want.
    pub(crate) fn goals(&self) -> Vec<Goal> {
        let ratio = |over: &str, branches: usize, document: &Document| {
            let case = case(branches, document);
            Some(self.samples.median("Sallyport", &case)? / self.samples.median(over, &case)?)
        };
        let mut goals = Vec::new();
        for branches in BRANCHES {
            for document in &self.documents[..2] {
                goals.extend(ratio(OWN, branches, document).map(|found| Goal {
                    what: format!("CPU of {} composed, over own calls", case(branches, document)),
                    found,
                    at_most: 1.0,
                    unit: "×".to_owned(),
                }));
            }
            let rival = self.rival.and_then(|rival| Some((rival, ratio(rival, branches, &DOCUMENTS[1])?)));
            goals.extend(rival.map(|(rival, found)| Goal {
                what: format!("CPU of {} composed, over {rival}", case(branches, &DOCUMENTS[1])),
                found,
                at_most: 0.5,
                unit: "×".to_owned(),
            }));
        }
        goals
    }

    pub(crate) fn measures(self) -> Vec<Measure> {
        vec![self.samples.measure()]
    }
}

fn case(branches: usize, document: &Document) -> String {
    format!("{branches} × {}", document.name)
}
