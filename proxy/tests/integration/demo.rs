//! `demo`: one round through everything that it prints a line for.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sallyport_testkit::wait::until;
use sallyport_testkit::{Client, Response};
use serde_json::json;
use tempfile::TempDir;

use crate::run::Process;
use crate::sallyport;

const UPLOAD_BYTES: usize = 20_000_000;

fn trusting(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

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

/// The folder that `--prepare` writes is what `check`, `explain` and `run` can be tried on.
#[test]
fn prepare_writes_a_folder_that_can_be_checked() {
    let folder = TempDir::new().unwrap();
    let ran = sallyport(folder.path(), &["demo", "--prepare", "--folder", "demo"]).expect(0);
    let ran = sallyport(folder.path(), &["check", "--format", "json", ran.stdout.trim_end()]).expect(0);
    assert_eq!(ran.json(), json!({ "ok": true, "findings": [] }));
}
