//! The Kafka behind live events: a real broker where Java is there, else the one inside librdkafka.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sallyport_kafka::EmbeddedBroker;

use crate::contest::Settings;
use crate::process::{Core, Process};
use crate::scenario::own;

/// What starts a real one, from the head of the repository.
const SCRIPT: &str = "deploy/kafka/kafka.sh";
const ADMIN_WAIT: Duration = Duration::from_secs(30);

/// Options of `serve broker`: Kafka inside this process, which forgets everything at the end.
#[derive(Debug, Args)]
pub struct Broker {
    /// A topic of one partition. May be repeated.
    #[arg(long = "topic")]
    topics: Vec<String>,
    /// Where its address is written to, as HOST:PORT.
    #[arg(long)]
    address_file: PathBuf,
}

/// A running one, on the load core.
pub(super) struct Kafka {
    pub(super) address: String,
    /// Why it is not a real one.
    pub(super) embedded: Option<String>,
    stop: Stop,
}

enum Stop {
    Script { script: PathBuf, data: PathBuf },
    Process { _process: Process },
}

impl Broker {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self) -> Result<()> {
        let topics: Vec<_> = self.topics.iter().map(|topic| (topic.as_str(), 1)).collect();
        let broker = EmbeddedBroker::start(&topics)?;
        // Whole or not there at all.
        let new = self.address_file.with_extension("new");
        fs::write(&new, broker.address())?;
        fs::rename(&new, &self.address_file)?;
        loop {
            std::thread::park();
        }
    }
}

impl Kafka {
    /// Starts one with these topics of one partition each.
    ///
    /// # Errors
    /// Not even the embedded one starts.
    pub(super) fn start(settings: &Settings, folder: &Path, topics: &[&str]) -> Result<Kafka> {
        match Kafka::real(settings, folder, topics) {
            Ok(kafka) => Ok(kafka),
            Err(error) => {
                let mut kafka = Kafka::embedded(folder, topics)?;
                kafka.embedded = Some(format!("{error:#}"));
                Ok(kafka)
            }
        }
    }

    fn real(settings: &Settings, folder: &Path, topics: &[&str]) -> Result<Kafka> {
        let repository = settings.rivals.ancestors().nth(2).context("the rivals are not in a repository")?;
        let (script, data) = (repository.join(SCRIPT), folder.join("kafka"));
        let mut command = Core::Load.command(&script);
        command.arg("start").arg(&data).stdin(Stdio::null());
        let out = command.output().with_context(|| format!("cannot start {}", script.display()))?;
        ensure!(out.status.success(), "no real Kafka: {}", String::from_utf8_lossy(&out.stderr).trim());
        let address = String::from_utf8(out.stdout)?.trim().to_owned();
        // From here on it is stopped in any case.
        let kafka = Kafka { address, embedded: None, stop: Stop::Script { script, data } };
        make_topics(&kafka.address, topics)?;
        Ok(kafka)
    }

    fn embedded(folder: &Path, topics: &[&str]) -> Result<Kafka> {
        let file = folder.join("kafka-address");
        let file_name = file.display().to_string();
        let topics = topics.iter().flat_map(|topic| ["--topic", topic]);
        let mut process = own::serve(
            "broker",
            Core::Load,
            folder,
            ["--address-file", &file_name].into_iter().chain(topics),
        )?;
        own::appears(&mut process, &file)?;
        let address = fs::read_to_string(&file)?;
        Ok(Kafka { address, embedded: None, stop: Stop::Process { _process: process } })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Stop::Script { script, data } = &self.stop {
            // The folder goes with the run; a broker that stays would be seen by its port.
            let _ = Command::new(script).arg("stop").arg(data).stdout(Stdio::null()).status();
        }
    }
}

fn make_topics(address: &str, topics: &[&str]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address).create()?;
    let topics: Vec<_> =
        topics.iter().map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1))).collect();
    let options = AdminOptions::new().operation_timeout(Some(ADMIN_WAIT));
    for made in block_on(admin.create_topics(&topics, &options))? {
        if let Err((topic, code)) = made {
            bail!("Kafka does not make the topic {topic}: {code}");
        }
    }
    Ok(())
}
