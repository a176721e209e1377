//! How soon a page is there that needs eight documents.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Cpu;
use crate::contest::{Request, Round, Running, Samples, Settings};
use crate::data::{Better, Measure};
use crate::scenario::compose::{AT_ONCE, IN_SEQUENCE};
use crate::scenario::own;

const COMPOSED: &str = "/compose/8/32k";
const PLAIN: &str = "/json/32k";
const CALLS: usize = 8;
/// Of what can be reached, in percent.
const LOADS: [u32; 3] = [30, 60, 80];

/// Times of pages by load.
pub(crate) struct Latency {
    p50: Samples,
    p99: Samples,
}

impl Latency {
    pub(crate) fn new() -> Latency {
        let samples = |name, title| Samples::new(name, title, "ms", Better::Lower).along("load, %", false);
        Latency {
            p50: samples("page-p50", "Time of a page of 8 × 32 KiB, the middle one (p50)"),
            p99: samples("page-p99", "Time of a page of 8 × 32 KiB, all but the slowest 1 % (p99)"),
        }
    }

    /// A turn of each way to open a page.
    pub(crate) fn round(
        &mut self,
        settings: &Settings,
        round: Round,
        edge: &Running,
        cpu: &Cpu,
    ) -> Result<()> {
        let most = most(edge, cpu)?;
        let ways = [
            (edge.name.as_str(), COMPOSED, 1, "sequence"),
            (IN_SEQUENCE, PLAIN, CALLS, "sequence"),
            (AT_ONCE, PLAIN, CALLS, "parallel"),
        ];
        for percent in LOADS {
            let rate = most * f64::from(percent) / 100.0;
            for (name, path, calls, way) in ways {
                let times = pages(settings, edge, path, calls, way, rate)?;
                let case = format!("{percent} %");
                self.p50.add(round, name, &case, Some(percent.into()), own::millis(&times, "p50_us")?);
                self.p99.add(round, name, &case, Some(percent.into()), own::millis(&times, "p99_us")?);
            }
        }
        Ok(())
    }

    pub(crate) fn measures(self) -> Vec<Measure> {
        vec![self.p50.measure(), self.p99.measure()]
    }
}

/// Pages a second that a contestant's composed answers reach, and own calls too where it has a route for them.
pub(super) fn most(contestant: &Running, cpu: &Cpu) -> Result<f64> {
    let composed = cpu.rate(contestant, COMPOSED).with_context(|| format!("{COMPOSED} was not measured"))?;
    Ok(cpu.rate(contestant, PLAIN).map_or(composed, |plain| composed.min(plain / CALLS as f64)))
}

/// Opens pages of one path's answers on time; what a client says of it.
pub(super) fn pages(
    settings: &Settings,
    edge: &Running,
    path: &str,
    calls: usize,
    way: &str,
    rate: f64,
) -> Result<Value> {
    let once = Request::get(edge.port, path).send()?;
    ensure!(once.status == 200, "{path} is answered with {}", once.status);
    let (to, bytes) = (format!("127.0.0.1:{}", edge.port), once.body.len().to_string());
    let (rate, seconds) = (format!("{rate:.1}"), settings.seconds.to_string());
    let fixed = ["--to", &to, "--bytes", &bytes, "--rate", &rate, "--seconds", &seconds, "--way", way];
    own::load("pages", fixed.into_iter().chain(["--path", path].repeat(calls)))
        .with_context(|| format!("{path} at {rate} a second"))
}
