//! What decides about counts besides our code: the machine that valgrind shows to the program, the compiler, valgrind, and
//! the C library.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// With what counts were made. Where two of these differ, so may the counts of the same code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeWith {
    /// The architecture and the vector instructions. Valgrind 3.19 shows every x86_64 machine with AVX2 to a program as the
    /// same processor, whatever else it can do, so that code that chooses by the processor (aws-lc, memchr, the C library)
    /// always chooses the same.
    pub machine: String,
    /// The compiler, without its patch version, which changes no code.
    pub rustc: String,
    /// Valgrind.
    pub valgrind: String,
    /// The C library, whose `memcpy` and `malloc` are counted, too.
    pub libc: String,
}

impl MadeWith {
    /// What there is here.
    ///
    /// # Errors
    /// A program does not run or says something unexpected.
    pub fn here() -> Result<MadeWith> {
        let version = second_word(&said(Command::new("rustc").arg("--version"))?)?;
        let rustc = version.rsplit_once('.').map_or(&*version, |(minor, _)| minor).to_owned();
        let valgrind = said(Command::new("valgrind").arg("--version"))?.replace("valgrind-", "");
        let libc = said(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
        Ok(MadeWith { machine: machine(), rustc, valgrind, libc })
    }

    /// What differs, in words.
    pub fn differs_from(&self, here: &MadeWith) -> Option<String> {
        let parts = [
            ("machine", &self.machine, &here.machine),
            ("rustc", &self.rustc, &here.rustc),
            ("valgrind", &self.valgrind, &here.valgrind),
            ("C library", &self.libc, &here.libc),
        ];
        let differ = parts.into_iter().filter(|(_, there, here)| there != here);
        let words: Vec<_> =
            differ.map(|(what, there, here)| format!("{what} {there}, here {here}")).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

fn machine() -> String {
    #[cfg(target_arch = "x86_64")]
    let vectors = if std::arch::is_x86_feature_detected!("avx2") { " with AVX2" } else { " without AVX2" };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = "";
    format!("{}{vectors}", std::env::consts::ARCH)
}

fn said(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(out.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn second_word(text: &str) -> Result<String> {
    Ok(text.split(' ').nth(1).with_context(|| format!("`{text}` is no version"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let here = MadeWith {
            machine: machine(),
            rustc: "1.95".into(),
            valgrind: "3.19.0".into(),
            libc: "glibc 2.36".into(),
        };
        assert_eq!(here.differs_from(&here), None);
        let other = MadeWith { rustc: "1.96".into(), ..here.clone() };
        assert_eq!(here.differs_from(&other).unwrap(), "rustc 1.95, here 1.96");
    }
}
