//! Who sends live events: the edge with its bridge, in one process and in two, Centrifugo, and the floor.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sallyport_testkit::Certificates;

use super::broker::Kafka;
use super::clients::{Clients, SECRET};
use crate::contest::{CENTRIFUGO, Entry, SALLYPORT, Settings};
use crate::process::{Core, Process, free_port};
use crate::scenario::own;

/// The names in figures.
pub(super) const OURS: &str = "Sallyport";
pub(super) const APART: &str = "Sallyport, bridge apart";
pub(super) const FLOOR: &str = "plain fastwebsockets";
/// The topics that each reads, so that their rounds do not disturb the others, and one of events with owners.
pub(super) const TOPICS: [&str; 6] =
    ["rooms", "rooms-apart", "rooms-centrifugo", "rooms-floor", "owned", "owned-apart"];
/// The path of WebSockets, Centrifugo's own one apart.
const PATH: &str = "/live";
const BRIDGE: &str = "sallyport-ws-bridge";

/// A server of live events.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) port: u16,
    /// Over TLS.
    pub(super) tls: u16,
    pub(super) topic: &'static str,
    /// Where clients connect to.
    pub(super) path: &'static str,
    /// The field of a record's head in which it wants the channel, unless it finds that in the event.
    pub(super) channels_header: Option<&'static str>,
    /// Those that are measured, together.
    pub(super) processes: Vec<Process>,
    /// Its configuration, if it has one.
    pub(super) file: PathBuf,
}

/// What servers need to start.
pub(super) struct Place<'a> {
    pub(super) settings: &'a Settings,
    pub(super) folder: &'a Path,
    pub(super) kafka: &'a Kafka,
    /// Where the origin of tunnels listens.
    pub(super) echo: u16,
}

impl Place<'_> {
    /// Writes the files that servers share: certificate and secret.
    pub(super) fn prepare(folder: &Path) -> Result<()> {
        let certificates = Certificates::new();
        let leaf = certificates.leaf(&["localhost"]);
        fs::copy(&leaf.cert, folder.join("edge.crt"))?;
        fs::copy(&leaf.key, folder.join("edge.key"))?;
        fs::copy(certificates.ca(), folder.join("ca.crt"))?;
        fs::write(folder.join("secret.txt"), SECRET)?;
        Ok(())
    }

    /// The edge with the bridge inside.
    pub(super) fn edge(&self) -> Result<Server> {
        self.start_edge(OURS, "", ["rooms", "owned"])
    }

    /// The edge, and the bridge as a process of its own.
    pub(super) fn apart(&self) -> Result<Server> {
        let program = self.settings.programs.join(BRIDGE);
        ensure!(program.is_file(), "there is no {}", program.display());
        let socket = self.folder.join("bridge.sock");
        let line = format!("socket: {}", socket.display());
        let mut server = self.start_edge(APART, &line, ["rooms-apart", "owned-apart"])?;
        let mut bridge =
            Process::start("bridge", Core::Measured, self.folder, program, [server.file.as_os_str()])?;
        own::appears(&mut bridge, &socket)?;
        server.processes.push(bridge);
        Ok(server)
    }

    fn start_edge(
        &self,
        name: &'static str,
        socket: &str,
        [rooms, owned]: [&'static str; 2],
    ) -> Result<Server> {
        let tls = free_port()?;
        let running = Entry::new(&SALLYPORT, "live")
            .named(name)
            .with("TLS", tls)
            .with("ECHO", self.echo)
            .with("KAFKA", &self.kafka.address)
            .with("SOCKET", socket)
            .with("ROOMS", rooms)
            .with("OWNED", owned)
            .start(self.settings, self.folder)?;
        let (port, file) = (running.port, running.file);
        let processes = vec![running.process];
        Ok(Server { name, port, tls, topic: rooms, path: PATH, channels_header: None, processes, file })
    }

    /// That Centrifugo can take part.
    ///
    /// # Errors
    /// It is not there, or there is no Kafka that it can read.
    pub(super) fn has_centrifugo(&self) -> Result<()> {
        CENTRIFUGO.program(self.settings)?;
        let real = self.kafka.embedded.is_none();
        ensure!(
            real,
            "it needs a real Kafka, and here was only the broker inside librdkafka, which its client does not understand"
        );
        Ok(())
    }

    /// Centrifugo, with or without TLS: it listens in one way only.
    pub(super) fn centrifugo(&self, secure: bool) -> Result<Server> {
        let (topic, header) = ("rooms-centrifugo", "centrifugo-channels");
        let running = Entry::new(&CENTRIFUGO, "live")
            .with("SECURE", secure)
            .with("SECRET", SECRET)
            .with("KAFKA", &self.kafka.address)
            .with("ROOMS", topic)
            .with("CHANNELS_HEADER", header)
            .start(self.settings, self.folder)?;
        Ok(Server {
            name: CENTRIFUGO.name,
            port: running.port,
            tls: running.port,
            topic,
            path: "/connection/websocket",
            channels_header: Some(header),
            processes: vec![running.process],
            file: running.file,
        })
    }

    /// A plain server.
    pub(super) fn floor(&self) -> Result<Server> {
        let (port, topic) = (free_port()?, "rooms-floor");
        let port_text = port.to_string();
        let arguments = ["--port", &port_text, "--kafka", &self.kafka.address, "--topic", topic];
        let mut process = own::serve("floor", Core::Measured, self.folder, arguments)?;
        process.listens(port)?;
        Ok(Server {
            name: FLOOR,
            port,
            tls: 0,
            topic,
            path: PATH,
            channels_header: None,
            processes: vec![process],
            file: PathBuf::new(),
        })
    }

    /// Clients of a server.
    pub(super) fn clients(&self, server: &Server, tls: bool) -> Result<Clients> {
        let authority = self.folder.join("ca.crt").display().to_string();
        let port = if tls { server.tls } else { server.port };
        let authority = tls.then_some(authority.as_str());
        Clients::start(port, server.path, &self.kafka.address, authority, server.channels_header)
    }
}

impl Server {
    /// CPU time of all its processes.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// Resident memory of all its processes, in KiB.
    pub(super) fn resident_kib(&self) -> Result<u64> {
        self.processes.iter().map(Process::resident_kib).sum()
    }

    /// Ends it at once, as a crash would, and starts it again at the same address.
    pub(super) fn crash_and_return(
        &mut self,
        settings: &Settings,
        between: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.processes.clear();
        between()?;
        let own = self.file.parent().context("a server without a configuration cannot return")?;
        let program = SALLYPORT.program(settings)?;
        let arguments = ["run".as_ref(), self.file.as_os_str()];
        self.processes.push(Process::start("returned", Core::Measured, own, program, arguments)?);
        Ok(())
    }
}
