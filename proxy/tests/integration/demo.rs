//! `demo`: one round through everything that it prints a line for.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use sallyport_testkit::certificates::trusting;
use sallyport_testkit::wait::until;
use sallyport_testkit::websocket::{Upgrade, WebSocketClient};
use sallyport_testkit::{Client, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::run::Process;
use crate::sallyport;

const UPLOAD_BYTES: usize = 20_000_000;

#[tokio::test]
async fn everything_that_the_guide_promises() {
    let folder = TempDir::new().unwrap();
    let demo = Process::start(folder.path(), &["demo", "--free-ports"]).await;
    let ready = |name: &str| demo.ready[name].as_str().unwrap().to_owned();
    let (teacher, marker) = (ready("teacher"), ready("marker"));
    let config = trusting(ready("ca").as_ref());
    let mut client = Client::tls(demo.address("public"), "localhost", config).await.unwrap();

    let created =
        client.request("POST", "/v1/batches").bearer(&teacher).header("Content-Type", "application/json");
    let created =
        created.body(json!({ "title": "Essays on rivers" }).to_string()).send().await.expect(201).json();
    assert_eq!((&created["owner"], &created["title"]), (&json!("teacher-7"), &json!("Essays on rivers")));
    let list = client.get("/v1/batches").bearer(&teacher).send().await.expect(200).json();
    assert_eq!(list["batches"], json!([created]));

    let nobody = client.get("/v1/batches").send().await;
    assert!(nobody.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")));
    nobody.problem(401, "unauthorized");
    client.get("/v1/results/1").bearer(&teacher).send().await.problem(403, "forbidden");

    // The limit is 2 a second with a burst of 3; a slow machine needs a few more to reach it.
    let mut refused: Option<Response> = None;
    for _ in 0..200 {
        let response = client.get("/v1/results/1").bearer(&marker).send().await;
        if response.status == 429 {
            refused = Some(response);
            break;
        }
        assert!(
            response.expect(200).header("ratelimit").is_some_and(|left| left.starts_with("\"results\";r="))
        );
    }
    let refused = refused.expect("a 429 after some requests");
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|s| s > 0)));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"results\";q=2;w=1"));

    let preflight = client.request("OPTIONS", "/v1/batches").header("Origin", "https://app.example.com");
    let preflight = preflight.header("Access-Control-Request-Method", "POST").send().await.expect(204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example.com"));

    let upload =
        client.request("PUT", "/v1/files/essays.zip").bearer(&teacher).body(vec![b'e'; UPLOAD_BYTES]);
    assert_eq!(upload.send().await.expect(201).json()["bytes"], UPLOAD_BYTES);
    let download = client.get("/v1/files/essays.zip").bearer(&teacher).send().await.expect(200);
    assert_eq!(download.body.bytes, UPLOAD_BYTES as u64);

    // The last of those that count against the teacher's limit, which it uses up.
    overview_and_rows(&mut client, &teacher, &marker).await;

    let mut plain = Client::plain(demo.address("plain")).await;
    let moved = plain.get("/v1/batches?limit=5").send().await.expect(308);
    let port = demo.address("public").port();
    assert_eq!(
        moved.header("location"),
        Some(format!("https://localhost:{port}/v1/batches?limit=5").as_str())
    );

    // Saving routes.yaml is enough, and the connection stays.
    let routes = Path::new(&ready("folder")).join("routes.yaml");
    let text = fs::read_to_string(&routes).unwrap();
    fs::write(&routes, text.replace("This is the edge", "This is the changed edge")).unwrap();
    until("the changed edge", || async {
        let admin =
            Client::plain(ready("admin").parse().unwrap()).await.request("POST", "/reload").send().await;
        (admin.status == 200).then_some(())
    })
    .await;
    assert!(client.get("/").send().await.expect(200).text().contains("the changed edge"));

    let home = ready("folder");
    demo.signal("TERM");
    assert_eq!(demo.end().await, Some(0));
    assert!(!Path::new(&home).exists(), "the demo leaves {home} behind");
}

/// The composed overview and the view's rows. One batch of the teacher's is there; another one, of the marker's, comes.
async fn overview_and_rows(client: &mut Client, teacher: &str, marker: &str) {
    register(client, marker, "Essays on hills").await;
    let overview = client.get("/v1/overview").bearer(teacher).send().await.expect(200);
    assert_eq!(overview.header("x-aggregate-complete"), Some("true"), "{overview:?}");
    let overview = overview.json();
    assert_eq!(overview["profile"], json!({ "id": "teacher-7", "name": "Teacher-7" }));
    assert_eq!(overview["batches"][0]["title"], "Essays on rivers");
    assert!(overview.get("results").is_none(), "a teacher does not see results: {overview}");
    let overview = client.get("/v1/overview").bearer(marker).send().await.expect(200).json();
    assert_eq!(overview["results"][0]["batch"], "2", "{overview}");

    // The spell checker takes its time. Who asks too often is told so, and asks again.
    let client = tokio::sync::Mutex::new(client);
    let ask = async |path: &str, tag: &str| {
        let mut client = client.lock().await;
        client.get(path).bearer(teacher).header("If-None-Match", tag).send().await
    };
    let rows = "/v1/dashboard/batches?order=-updated_at&limit=5&group=status";
    let page = until("a row that is checked", || async {
        let page = ask(rows, "\"none\"").await;
        (page.status == 200 && page.json()["items"][0]["status"] == "checked").then_some(page)
    })
    .await;
    let body = page.json();
    assert_eq!(body["items"].as_array().map(Vec::len), Some(1), "the marker's is not hers: {body}");
    assert_eq!((&body["items"][0]["checked"], &body["items"][0]["checks"]), (&json!(5), &json!(1)), "{body}");
    assert_eq!(body["groups"], json!([{ "value": "checked", "n": 1 }]));
    assert!(page.header("view-offsets").is_some_and(|offsets| offsets.contains("essay.batch.events/")));
    until("304, for nothing is new", || async {
        let tag = page.header("etag").unwrap_or_default();
        (ask(rows, tag).await.status == 304).then_some(())
    })
    .await;
    until("the marker's row, which is not there for a teacher", || async {
        (ask("/v1/dashboard/batches/2", "\"none\"").await.status == 404).then_some(())
    })
    .await;
}

/// A client of the live page's protocol: one JSON object a line.
struct Live {
    socket: WebSocketClient,
    waiting: VecDeque<Value>,
}

impl Live {
    /// Connects with a token and subscribes to a channel.
    async fn subscribed(demo: &Process, config: &Arc<ClientConfig>, session: &Value) -> Live {
        let upgrade = Upgrade::to("/connection/websocket");
        let address = demo.address("public");
        let socket = WebSocketClient::open_tls(address, "localhost", config.clone(), &upgrade).await;
        let mut live = Live { socket, waiting: VecDeque::new() };
        live.send(json!({ "id": 1, "connect": { "token": session["token"] } })).await;
        live.send(json!({ "id": 2, "subscribe": { "channel": session["channel"] } })).await;
        let connected = live.reply(1).await;
        assert_eq!(
            connected["connect"]["subs"].as_object().map(serde_json::Map::len),
            Some(1),
            "{connected}"
        );
        let subscribed = live.reply(2).await;
        assert!(subscribed["subscribe"]["epoch"].is_string(), "{subscribed}");
        live
    }

    async fn send(&mut self, command: Value) {
        self.socket.send(&command.to_string()).await;
    }

    async fn next(&mut self) -> Value {
        while self.waiting.is_empty() {
            let text = self.socket.text().await;
            self.waiting.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        self.waiting.pop_front().unwrap()
    }

    async fn reply(&mut self, id: u32) -> Value {
        loop {
            let next = self.next().await;
            if next["id"] == id {
                return next;
            }
        }
    }

    /// The next event: its channel as subscribed, its data, its type.
    async fn event(&mut self) -> (String, Value, String) {
        loop {
            let next = self.next().await;
            let publication = &next["push"]["pub"];
            if publication.is_object() {
                let channel = next["push"]["channel"].as_str().unwrap().to_owned();
                let kind = publication["tags"]["type"].as_str().unwrap_or_default().to_owned();
                return (channel, publication["data"].clone(), kind);
            }
        }
    }
}

async fn register(client: &mut Client, token: &str, title: &str) {
    let request = client.request("POST", "/v1/batches").bearer(token);
    let request = request.header("Content-Type", "application/json");
    request.body(json!({ "title": title }).to_string()).send().await.expect(201);
}

#[tokio::test]
async fn everybody_sees_the_events_of_their_own_batches_live() {
    let folder = TempDir::new().unwrap();
    let demo = Process::start(folder.path(), &["demo", "--free-ports"]).await;
    let config = trusting(demo.ready["ca"].as_str().unwrap().as_ref());
    let mut client = Client::tls(demo.address("public"), "localhost", config.clone()).await.unwrap();

    let page = client.get("/live").send().await.expect(200);
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("'sha256-")));
    assert!(page.text().contains("Events of your batches, live"));
    client.get("/live/events").send().await.problem(401, "unauthorized");

    // Until Kafka has been read, subscriptions are refused for the moment.
    let admin = demo.ready["admin"].as_str().unwrap().parse().unwrap();
    until("partitions that have been read", || async {
        let status = Client::plain(admin).await.get("/live").send().await.json();
        let partitions = status["partitions"].as_array().map_or(0, Vec::len);
        (partitions == 3 && status["ready"] == true).then_some(())
    })
    .await;
    let (mut sessions, mut lives) = (Vec::new(), Vec::new());
    for user in ["alice", "bob"] {
        let session = client.get(&format!("/live/session?user={user}")).send().await.expect(200).json();
        lives.push(Live::subscribed(&demo, &config, &session).await);
        sessions.push(session["token"].as_str().unwrap().to_owned());
    }
    register(&mut client, &sessions[0], "Rivers").await;
    let [alice, bob] = &mut lives[..] else { panic!("two clients") };
    let kinds = ["batch.registered"].into_iter().chain(["essay.spellchecked"; 5]).chain(["batch.checked"]);
    for kind in kinds {
        let (channel, data, told) = alice.event().await;
        assert_eq!((channel.as_str(), told.as_str()), ("batch:*", kind));
        assert_eq!(
            (&data["owner"], &data["title"], &data["batch_id"]),
            (&json!("alice"), &json!("Rivers"), &json!(1))
        );
    }
    // The last one comes on the channel that the server has subscribed her to, too.
    let (channel, data, _) = alice.event().await;
    assert_eq!((channel.as_str(), &data["batch_id"]), ("user:alice", &json!(1)));

    // All of that passed bob by: the first that he hears of is his own.
    register(&mut client, &sessions[1], "Hills").await;
    let (_, data, kind) = bob.event().await;
    assert_eq!((&data["owner"], kind.as_str()), (&json!("bob"), "batch.registered"));

    // A command goes to the service through Kafka, and what it does comes back.
    alice.send(json!({ "id": 9, "rpc": { "method": "batch.check", "data": { "batch_id": 1 } } })).await;
    assert_eq!(alice.reply(9).await["rpc"]["data"]["partition"], 0);
    let (_, data, kind) = alice.event().await;
    assert_eq!((&data["batch_id"], kind.as_str()), (&json!(1), "essay.spellchecked"));
    demo.signal("TERM");
    assert_eq!(demo.end().await, Some(0));
}

/// The folder that `--prepare` writes is what `check`, `explain` and `run` can be tried on.
#[test]
fn prepare_writes_a_folder_that_can_be_checked() {
    let folder = TempDir::new().unwrap();
    let ran = sallyport(folder.path(), &["demo", "--prepare", "--folder", "demo"]).expect(0);
    let ran =
        sallyport(folder.path(), &["check", "--strict", "--format", "json", ran.stdout.trim_end()]).expect(0);
    assert_eq!(ran.json(), json!({ "ok": true, "findings": [] }));
}
