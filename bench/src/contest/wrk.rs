//! The load that is as much as a contestant can take: wrk, in a closed loop on the load core.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::calls::Calls;
use super::settings::Settings;
use crate::process::Core;

/// Above this, wrk would spend its time on handing bodies to the script that measures them. Their total is looked at instead.
const LENGTH_EACH_BYTES_MAX: u64 = 32 * 1024;
/// What a head may have in bytes.
const HEAD_BYTES_MAX: u64 = 2048;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// Right answers; there were no others.
    pub answers: u64,
    /// A second.
    pub rate: f64,
}

impl Calls {
    /// Asks in a closed loop, each connection again as soon as it has its answer, for as long as the settings say. wrk's script is written into `folder`.
    ///
    /// # Errors
    /// There is no wrk, or an answer was not the right one.
    pub fn saturate(&self, settings: &Settings, folder: &Path) -> Result<Answered> {
        let script = folder.join("load.lua");
        fs::write(&script, self.script())?;
        let out = Core::Load
            .command("wrk")
            .args(["-t1", "--timeout", "10s"])
            .arg(format!("-c{}", settings.connections))
            .arg(format!("-d{}s", settings.seconds))
            .arg("-s")
            .arg(&script)
            .arg(format!("http://127.0.0.1:{}{}", self.port, self.path))
            .output()
            .context("cannot start wrk")?;
        let said = String::from_utf8_lossy(&out.stdout);
        ensure!(out.status.success(), "wrk: {said}{}", String::from_utf8_lossy(&out.stderr));
        self.judge(&said, settings.connections)
            .with_context(|| format!("{} on port {}", self.path, self.port))
    }

    fn script(&self) -> String {
        let tokens = self
            .tokens
            .as_ref()
            .map_or_else(|| "nil".to_owned(), |file| format!("{:?}", file.display().to_string()));
        let fields: String =
            self.fields.iter().map(|(name, value)| format!("[{name:?}] = {value:?}, ")).collect();
        let targets = self
            .targets
            .as_ref()
            .map_or_else(|| "nil".to_owned(), |file| format!("{:?}", file.display().to_string()));
        let each = if self.body_bytes <= LENGTH_EACH_BYTES_MAX { EACH } else { "" };
        format!(
            "local path, body_bytes, tokens, fields = {:?}, {}, {tokens}, {{ {fields}}}\nlocal targets = {targets}\n{SCRIPT}{each}",
            self.path, self.body_bytes
        )
    }

    /// Reads the line that the script prints at the end.
    fn judge(&self, said: &str, connections: u32) -> Result<Answered> {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("figures "))
            .context("wrk has not come to its end")?;
        let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let &[answers, micros, bytes, errors, wrong] = &numbers[..] else { anyhow::bail!("wrk: {line}") };
        ensure!(answers > 0, "no answer at all: {said}");
        ensure!(errors + wrong == 0, "{errors} errors and {wrong} wrong answers of {answers}: {said}");
        let least = answers * self.body_bytes;
        // Answers that were on their way at the end have brought bytes too.
        let most = (answers + u64::from(connections)) * (self.body_bytes + HEAD_BYTES_MAX);
        ensure!((least..=most).contains(&bytes), "{bytes} bytes in {answers} answers of {}", self.body_bytes);
        Ok(Answered { answers, rate: answers as f64 * 1e6 / micros as f64 })
    }
}

/// Asks with the tokens, or for the targets, in turn. Statuses from 400 are errors to wrk itself.
const SCRIPT: &str = r#"
local requests, i = {}, 0
init = function()
  if tokens then
    for line in io.lines(tokens) do
      fields["Authorization"] = "Bearer " .. line
      requests[#requests + 1] = wrk.format("GET", path, fields)
    end
  elseif targets then
    for line in io.lines(targets) do
      local host, path = line:match("^(%S+) (%S+)$")
      fields["Host"] = host
      requests[#requests + 1] = wrk.format("GET", path, fields)
    end
  else
    requests[1] = wrk.format("GET", path, fields)
  end
end
request = function() i = i % #requests + 1; return requests[i] end
wrong = 0
local thread
setup = function(one) thread = one end
done = function(summary)
  local e = summary.errors
  io.write(string.format("figures %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes,
    e.status + e.connect + e.read + e.write + e.timeout, thread:get("wrong")))
end
"#;

/// Looks at each answer.
const EACH: &str = "
response = function(status, _, body)
  if status ~= 200 or #body ~= body_bytes then wrong = wrong + 1 end
end
";

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(figures: &str) -> Result<Answered, String> {
        let said = format!("Running 1s test\nfigures {figures}\n");
        Calls::get(80, "/b100", 100).judge(&said, 2).map_err(|error| error.to_string())
    }

    #[test]
    fn right_answers_are_counted_by_the_second() {
        assert_eq!(judged("5000 2000000 1000000 0 0").unwrap(), Answered { answers: 5000, rate: 2500.0 });
    }

    #[test]
    fn what_was_not_right_is_no_figure() {
        for (figures, why) in [
            ("0 2000000 0 0 0", "no answer at all"),
            ("5000 2000000 1000000 1 0", "1 errors and 0 wrong answers of 5000"),
            ("5000 2000000 1000000 0 7", "0 errors and 7 wrong answers of 5000"),
            ("5000 2000000 499999 0 0", "499999 bytes in 5000 answers of 100"),
            ("5000 2000000 99999999 0 0", "99999999 bytes in 5000 answers of 100"),
        ] {
            let error = judged(figures).unwrap_err();
            assert!(error.starts_with(why), "{figures}: {error}");
        }
        assert!(Calls::get(80, "/", 1).judge("unable to connect", 2).is_err());
    }

    #[test]
    fn the_script_has_what_is_asked_for() {
        let mut calls = Calls::get(80, "/b\"100", 100);
        calls.fields.push(("Origin".to_owned(), "https://app.test".to_owned()));
        let script = calls.script();
        assert!(script.starts_with(r#"local path, body_bytes, tokens, fields = "/b\"100", 100, nil, { ["Origin"] = "https://app.test", }"#), "{script}");
        assert!(script.contains("response = function"));
        assert!(!Calls::get(80, "/", 100_000).script().contains("response = function"));
    }
}
