//! Programs that are measured or that put load on them: pinned to a core, and what they have used of it.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// What the kernel counts CPU time in for programs, on every architecture.
const TICK: Duration = Duration::from_millis(10);
/// How often it is looked whether something is there.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where a program runs. What is measured has a core of its own, apart from what puts load on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// The first: what is measured.
    Measured,
    /// The second: load and upstreams.
    Load,
    /// Both, for programs with two threads.
    Both,
}

/// A program that runs until this is dropped.
pub struct Process {
    child: Child,
    name: String,
}

impl Core {
    /// As taskset(1) wants it.
    pub fn list(self) -> &'static str {
        match self {
            Core::Measured => "0",
            Core::Load => "1",
            Core::Both => "0,1",
        }
    }

    /// A program on this core, to be started. Arguments follow.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", self.list()]).arg(program);
        command
    }
}

/// `load NAME` of this very program on the load core, to be started. Options follow.
///
/// # Errors
/// The program cannot be found.
pub fn load_client(name: &str) -> Result<Command> {
    let mut command = Core::Load.command(std::env::current_exe()?);
    command.args(["load", name]).stdin(Stdio::null());
    Ok(command)
}

impl Process {
    /// Starts a program in a folder, on a core. What it says goes to the file `NAME.log` there.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        core: Core,
        folder: &Path,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Process> {
        let log = fs::File::create(folder.join(format!("{name}.log")))?;
        let child = core
            .command(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Process { child, name: name.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// CPU time that it has used, its own and the kernel's for it. Only of itself: a contestant is one process.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // Behind the name, which may hold anything; utime and stime are the 14th and 15th field (proc(5)).
        let (_, fields) = stat.rsplit_once(')').context("no name in its stat")?;
        let ticks: Vec<u64> =
            fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        ensure!(ticks.len() == 2, "{}: no times in its stat", self.name);
        Ok(TICK.saturating_mul(u32::try_from(ticks[0] + ticks[1])?))
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_kib(&self) -> Result<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory in KiB since [`Process::forget_peak`].
    ///
    /// # Errors
    /// It has ended.
    pub fn peak_kib(&self) -> Result<u64> {
        self.status_kib("VmHWM:")
    }

    /// Makes the peak begin anew, at what is resident now.
    ///
    /// # Errors
    /// It has ended.
    pub fn forget_peak(&self) -> Result<()> {
        // proc_pid_clear_refs(5).
        Ok(fs::write(format!("/proc/{}/clear_refs", self.id()), "5")?)
    }

    fn status_kib(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let field = line.and_then(|line| line.split_whitespace().next());
        Ok(field.with_context(|| format!("{}: no {name} in its status", self.name))?.parse()?)
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// It has ended, or does not listen in time.
    pub fn listens(&mut self, port: u16) -> Result<()> {
        let (child, name) = (&mut self.child, &self.name);
        listens(port, || match child.try_wait()? {
            Some(status) => bail!("{name} has ended: {status}"),
            None => Ok(()),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until somebody listens on a port of loopback; `runs` says whether that can still happen.
///
/// # Errors
/// It cannot, or does not in time.
pub fn listens(port: u16, mut runs: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
        runs()?;
        ensure!(Instant::now() < deadline, "nobody listens on port {port}");
        sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A port that is free now.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
