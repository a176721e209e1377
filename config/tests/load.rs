//! Whole files that are good, what comes out of them, and texts that are nothing at all.

#![allow(clippy::unwrap_used, reason = "what a test sets up itself is there")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sallyport_config::route::ValueMatch;
use sallyport_config::upstream::Balance;
use sallyport_config::{Loaded, Location, Report, load, load_text};

const WHOLE: &str = include_str!("whole.yaml");

fn env(name: &str) -> Option<String> {
    (name == "SHARED_SECRET").then(|| "0123456789abcdef0123456789abcdef".to_owned())
}

fn read(text: &str) -> Result<(Loaded, Report), Report> {
    load_text("routes.yaml", text, Path::new(""), &env)
}

#[track_caller]
fn good(text: &str) -> Loaded {
    match read(text) {
        Ok((loaded, _)) => loaded,
        Err(report) => panic!("{report}"),
    }
}

/// A folder of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_whole_file_is_read() {
    let loaded = good(WHOLE);
    let config = &loaded.config;
    assert_eq!(config.listeners.names().collect::<Vec<_>>(), ["public", "plain"]);
    assert_eq!(config.upstreams.find("batches").unwrap().balance, Balance::LeastRequests);
    assert_eq!(config.upstreams.find("files").unwrap().targets[1].weight, 3);
    assert_eq!(config.chains.find("user").unwrap()[1].name.as_str(), "rate_limit");
    assert_eq!(config.issuers.find("shared").unwrap().hmac_secret.as_ref().unwrap().expose().len(), 32);
    let conditions = &config.routes[3].matches.query;
    assert!(matches!(conditions.find("debug"), Some(ValueMatch::Present(true))));
    assert_eq!(config.routes[0].matches.to_string(), "POST api.example.com/v1/batches");
    assert_eq!(config.routes[0].at, Location { file: 0, line: 44, column: 5 });
    assert!(config.process.watch);
}

/// What the admin page shows is the configuration itself, but for secrets.
#[test]
fn a_configuration_reads_back_from_its_json_and_shows_no_secret() {
    let json = serde_json::to_string_pretty(&good(WHOLE).config).unwrap();
    assert!(!json.contains("0123456789abcdef"), "{json}");
    assert!(json.contains(r#""hmac_secret": "***""#), "{json}");
    assert!(json.contains("${API_KEY}"), "{json}");
    let again = good(&json.replace("\"***\"", "\"${SHARED_SECRET}\""));
    assert_eq!(serde_json::to_string_pretty(&again.config).unwrap(), json);
    assert!(!format!("{:?}", again.config).contains("0123456789abcdef"));
}

#[test]
fn files_are_included_merged_and_watched() {
    let folder = Folder::new("included");
    let main = folder.write(
        "routes.yaml",
        "version: 1\ninclude: [\"*.yaml\", \"teams/*.yaml\", teams/a.yaml, \"nobody/*.yaml\"]\n\
         listeners: { public: { address: 127.0.0.1:0 } }\nupstreams: { m: { targets: [a:1] } }\n\
         issuers: { s: { issuer: i, audiences: [p], hmac_secret: \"file:keys/s\" } }\n",
    );
    folder.write(
        "teams/b.yaml",
        "upstreams: { b: { targets: [b:1] } }\nroutes: [{ match: GET /b, upstream: a }]\n",
    );
    folder.write("teams/a.yaml", "version: 1\nupstreams: { a: { targets: [a:1] } }\n");
    folder.write("teams/.hidden.yaml", "nonsense");
    folder.write("teams/empty.yaml", "# nothing yet\n");
    folder.write("keys/s", "0123456789abcdef0123456789abcdef\r\n");
    let (loaded, report) = load(&main, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.config.upstreams.names().collect::<Vec<_>>(), ["m", "a", "b"]);
    let secret = loaded.config.issuers.find("s").unwrap().hmac_secret.as_ref().unwrap();
    assert_eq!(secret.expose(), "0123456789abcdef0123456789abcdef");
    let inside = |name: &str| folder.0.join(name);
    let watched = ["routes.yaml", "keys/s", "teams/a.yaml", "teams/b.yaml", "teams/empty.yaml"].map(inside);
    assert_eq!(loaded.files, watched);
    assert_eq!((loaded.globs.len(), &loaded.base), (4, &folder.0));
    let at = loaded.config.routes[0].at;
    assert!(report.place(at).unwrap().ends_with("teams/b.yaml:2:10"));
}

#[test]
fn what_cannot_be_read_is_told_with_its_name() {
    let folder = Folder::new("unreadable");
    let error = |path: &Path| load(path, &|_| None).err().unwrap().to_string();
    let missing = folder.0.join("missing.yaml");
    assert_eq!(error(&missing), format!("error: cannot read `{}`: no such file\n", missing.display()));
    let latin = folder.write("latin.yaml", b"version: 1\n# caf\xe9\n");
    assert!(error(&latin).contains("is not UTF-8 in line 2"));
    let large = folder.write("large.yaml", vec![b'#'; 4 * 1024 * 1024 + 1]);
    assert!(error(&large).contains("is larger than 4 MiB"));
    let text = format!("version: 1\n{}", "#".repeat(4 * 1024 * 1024));
    assert!(read(&text).err().unwrap().to_string().contains("the file is larger than 4 MiB"));
}

/// A name of a folder is not a glob.
#[test]
fn a_folder_may_have_any_name() {
    let folder = Folder::new("[odd] * name");
    let text = "version: 1\ninclude: [\"*.part\"]\nlisteners: { p: { address: 127.0.0.1:0 } }\n";
    let main = folder.write("routes.yaml", text);
    folder.write("a.part", "upstreams: { a: { targets: [a:1] } }");
    let (loaded, _) = load(&main, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.config.upstreams.len(), 1);
}

#[test]
fn an_alias_shares_a_value() {
    let loaded = good(
        "version: 1\nlisteners: { p: { address: 127.0.0.1:0 } }\nupstreams:\n  a: &a { targets: [a:1] }\n  b: *a\n",
    );
    assert_eq!(loaded.config.upstreams.find("b").unwrap().targets[0].address, "a:1");
}

#[test]
fn carriage_returns_and_a_byte_order_mark_do_no_harm() {
    let text = format!("\u{feff}{}", WHOLE.replace('\n', "\r\n"));
    assert_eq!(good(&text).config.routes.len(), good(WHOLE).config.routes.len());
}

/// The smallest numbers, the only cluster taken without being named, and a family that is fed by its bare name.
#[test]
fn a_bridge_is_read_and_a_family_that_nothing_feeds_is_only_warned_of() {
    let text = r#"
version: 1
listeners: { public: { address: 0.0.0.0:8080 } }
issuers: { main: { issuer: a, audiences: [p], jwks: { file: a } } }
kafka:
  main:
    brokers: ["kafka-1.internal:9092", "[::1]:9092"]
    settings: { security.protocol: SASL_SSL, sasl.username: edge }
    secrets: { sasl.password: "${SHARED_SECRET}" }
ws_bridge:
  issuers: [main]
  socket: run/ws-bridge.sock
  connection: { ping: 1s, expiry_grace: 0s, max_age: 0s }
  limits: { connections: 1, catch_up_records: 0 }
  sources:
    - { topics: ["batches.*", other_topic], channel: "batch:{$.id}", dead_letter: dead-batches }
    - { kafka: main, topics: ["*"], channel: all }
  channels:
    all: { visible_to: "true", replay: { events: 1, bytes: 1B, window: 1s } }
    batch: { visible_to: "true", token: true, join: "batch:{claims.sub}", publish: { topic: x, allow: "true" } }
    room: { visible_to: "true", presence: true }
    quiet: { visible_to: "true" }
  rpc:
    start: { topic: starts, allow: "true" }
"#;
    let (loaded, report) = read(text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.config.ws_bridge.as_ref().unwrap().sources.len(), 2);
    let warnings: Vec<_> = report.warnings().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["no source feeds the family `quiet`"]);
}

#[test]
fn ten_thousand_routes_are_read() {
    let mut text = String::from(
        "version: 1\nlisteners: { p: { address: 127.0.0.1:0 } }\nupstreams: { a: { targets: [a:1] } }\nroutes:\n",
    );
    for number in 0..10_000 {
        text.push_str(&format!(
            "  - {{ match: \"GET h{number}.example.com/v1/{{id}}\", upstream: a, public: true }}\n"
        ));
    }
    assert_eq!(good(&text).config.routes.len(), 10_000);
}

/// Pieces that files are made of, well and badly put together.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("version: 1\n".to_owned()),
        Just("listeners: { p: { address: 127.0.0.1:0 } }\n".to_owned()),
        Just("upstreams:\n  a: { targets: [a:1] }\n".to_owned()),
        Just("routes:\n  - match: GET /\n    upstream: a\n".to_owned()),
        Just("chains: { c: [x: {}, y] }\n".to_owned()),
        Just("issuers: { i: { hmac_secret: \"${X}\" } }\n".to_owned()),
        "(listeners|admin|process|issuers|chains|upstreams|routes|include): ",
        "[-&*!|>%@`{}\\[\\],:?#'\"~<\\\\ \t\n]{1,4}",
        "&a |\\*a |<<: |- |\\? |--- |\\.\\.\\.\n|!!str |%YAML 1.2\n|\u{feff}|\r\n|\r|\u{85}|\u{2028}",
        "\\PC{0,6}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = read(&text).map_err(|report| (report.to_string(), report.to_json()));
    }

    #[test]
    fn any_pieces_are_read_or_refused_with_a_place_in_the_text(text in pieces()) {
        if let Err(report) = read(&text) {
            prop_assert!(!report.is_empty());
            let shown = report.to_string();
            let harmless = shown.chars().all(|c| c == '\n' || !c.is_control());
            prop_assert!(harmless, "{:?}", shown);
        }
    }

    /// A good file with one character changed: no panic, and never an error without a message.
    #[test]
    fn a_slip_is_read_or_refused(at in 0..WHOLE.len(), slip in prop_oneof![Just(String::new()), "\\PC|[\n\t{}:*&]"]) {
        let (from, to) = (WHOLE.floor_char_boundary(at), WHOLE.ceil_char_boundary(at + 1));
        let text = format!("{}{slip}{}", &WHOLE[..from], &WHOLE[to..]);
        if let Err(report) = read(&text) {
            prop_assert!(report.errors().all(|error| !error.message.is_empty()));
        }
    }
}
