//! Clients that come back resume their TLS session, and only where it was made.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use sallyport_testkit::{Certificates, Client, EdgeUnderTest, Leaf, Origin};

/// More than the 256 sessions that rustls remembers of itself.
const CLIENTS: usize = 300;

fn listeners(names: &[&str], leaf: &Leaf, origin: &Origin) -> String {
    let listener = |name: &&str| {
        format!(
            "  {name}: {{ address: \"127.0.0.1:0\", limits: {{ connections_per_client: 1000 }}, \
             tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }} }}\n",
            leaf.cert.display(),
            leaf.key.display()
        )
    };
    let lines: String = names.iter().map(listener).collect();
    format!("listeners:\n{lines}{}", crate::everything_to(origin.address()))
}

/// Connects, is served, and says whether a session was resumed.
async fn resumes(address: SocketAddr, config: &Arc<rustls::ClientConfig>) -> bool {
    let mut client = Client::tls(address, "localhost", config.clone()).await.unwrap();
    client.get("/").send().await.expect(200);
    client.resumed()
}

#[tokio::test]
async fn all_who_come_back_resume_also_after_a_reload_and_a_renewal() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    let leaf = certificates.leaf(&["localhost"]);
    let edge = EdgeUnderTest::start(&listeners(&["public"], &leaf, &origin)).await;
    let address = edge.address("public");
    for version in [&TLS12, &TLS13] {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| certificates.client_config_of(&["http/1.1"], &[version])).collect();
        for client in &clients {
            assert!(!resumes(address, client).await, "there is nothing to resume");
        }
        for (number, client) in clients.iter().enumerate() {
            assert!(resumes(address, client).await, "{version:?}, client {number}");
        }
        edge.reload().await.unwrap();
        assert!(resumes(address, &clients[0]).await, "{version:?}, after a reload");
        certificates.replace(&leaf, &["localhost"]);
        edge.reload().await.unwrap();
        assert!(resumes(address, &clients[0]).await, "{version:?}, after a renewal");
    }
}

/// Who resumes is shown no certificate, so a listener does not take over what another one has proven; nor does it after
/// its own names have changed (RFC 8446, section 4.6.1: the name must be valid for the certificate of the session).
#[tokio::test]
async fn a_session_belongs_to_its_listener_and_the_names_of_its_certificates() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    for version in [&TLS12, &TLS13] {
        let leaf = certificates.leaf(&["localhost"]);
        let edge = EdgeUnderTest::start(&listeners(&["public", "other"], &leaf, &origin)).await;
        let client = || certificates.client_config_of(&["http/1.1"], &[version]);
        let (staying, straying) = (client(), client());
        for client in [&staying, &straying] {
            assert!(!resumes(edge.address("public"), client).await);
        }
        assert!(!resumes(edge.address("other"), &straying).await, "{version:?}: of another listener");
        assert!(resumes(edge.address("public"), &staying).await, "{version:?}");

        certificates.replace(&leaf, &["localhost", "added.test"]);
        edge.reload().await.unwrap();
        assert!(!resumes(edge.address("public"), &staying).await, "{version:?}: of other names");
        assert!(resumes(edge.address("public"), &staying).await, "{version:?}: of the new names");
    }
}

/// Certificates for addresses are told apart, too (RFC 5280, section 4.2.1.6).
#[tokio::test]
async fn addresses_of_a_certificate_count_as_names() {
    let (origin, certificates) = (Origin::start().await, Certificates::new());
    let leaf = certificates.leaf(&["127.0.0.1", "::1"]);
    let edge = EdgeUnderTest::start(&listeners(&["public"], &leaf, &origin)).await;
    let config = certificates.client_config(&["http/1.1"]);
    let connect = || Client::tls(edge.address("public"), "127.0.0.1", config.clone());
    connect().await.unwrap().get("/").send().await.expect(200);
    assert!(connect().await.unwrap().resumed());
    let metrics = edge.metrics().await;
    assert!(metrics.contains("listener=\"public\",name=\"127.0.0.1\""), "{metrics}");
    certificates.replace(&leaf, &["127.0.0.1"]);
    edge.reload().await.unwrap();
    assert!(!connect().await.unwrap().resumed());
}
