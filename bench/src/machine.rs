//! What a run ran on, and what was measured: machine, commit, time.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use time::OffsetDateTime;

use crate::data::Machine;

/// The machine as it is now.
///
/// # Errors
/// The kernel is not Linux.
pub fn machine() -> Result<Machine> {
    let read = |file: &str| fs::read_to_string(file).with_context(|| format!("cannot read {file}"));
    let cpu = read("/proc/cpuinfo")?;
    let memory = read("/proc/meminfo")?;
    let system = read("/etc/os-release").unwrap_or_default();
    let kib = field(&memory, "MemTotal", ':').and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    let name = field(&system, "PRETTY_NAME", '=').unwrap_or("unknown");
    let kernel =
        format!("{} {}", read("/proc/sys/kernel/ostype")?.trim(), read("/proc/sys/kernel/osrelease")?.trim());
    let load = read("/proc/loadavg")?;
    Ok(Machine {
        // Some architectures do not name it.
        processor: field(&cpu, "model name", ':').unwrap_or(std::env::consts::ARCH).to_owned(),
        cores: std::thread::available_parallelism()?.get(),
        memory_mib: kib.context("no MemTotal")? / 1024,
        kernel,
        system: name.trim_matches('"').to_owned(),
        load_before: load.split(' ').next().context("no load average")?.parse()?,
    })
}

/// The commit of the repository at `folder`, with `+` behind it if files differ from it.
///
/// # Errors
/// It is no repository.
pub fn commit(folder: &Path) -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let out =
            Command::new("git").arg("-C").arg(folder).args(arguments).output().context("cannot start git")?;
        ensure!(out.status.success(), "git: {}", String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8(out.stdout)?.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    // Results of runs before are no change of what is measured.
    let differs = !git(&["status", "--porcelain", "--", ".", ":(exclude)bench/results"])?.is_empty();
    Ok(if differs { format!("{commit}+") } else { commit })
}

/// Now, RFC 3339, UTC.
pub fn now() -> String {
    let now = OffsetDateTime::now_utc();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    )
}

/// The first `NAME: VALUE` of such lines.
fn field<'a>(text: &'a str, name: &str, between: char) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(between))
        .find(|(is, _)| is.trim() == name)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_told() {
        let machine = machine().unwrap();
        assert!(machine.cores > 0 && machine.memory_mib > 0, "{machine:?}");
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model name\t: A\nmodel\t\t: 1\nPRETTY_NAME=\"D 12\"";
        assert_eq!(field(text, "model", ':'), Some("1"));
        assert_eq!(field(text, "PRETTY_NAME", '='), Some("\"D 12\""));
        assert_eq!(field(text, "vendor", ':'), None);
    }
}
