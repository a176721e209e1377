//! Counts what pieces of the hot path cost, and compares with `bench/counts.json`. How and why: `bench/src/counts`.
//!
//! `make counts`, `make counts-accept REASON="..."`, `make counts ONLY=filter`. Each case is a piece of work that is done
//! over and over; counted are turns of a process that is warm.
//!
//! Not here: times, and what does not fit into instructions, such as misses of a cache or system calls. `make bench` has those.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

mod case;
mod edge;
mod filters;
mod frames;
mod head;
mod json;
mod material;
mod routes;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use sallyport_bench::counts::callgrind::{self, Said};
use sallyport_bench::counts::{Baselines, Comparison, Counts, MadeWith, Verdict, compare};

use case::Case;
use material::Material;

/// Counts instructions and allocations of the hot path.
#[derive(Parser)]
struct Arguments {
    /// Moves the baselines that no longer hold, for this reason.
    #[arg(long)]
    accept: Option<String>,
    /// Counts only cases with this in their name.
    #[arg(long, default_value = "")]
    only: String,
    /// Does the work of one case, with the material in this folder: what runs under valgrind.
    #[arg(long, num_args = 2, value_names = ["NAME", "FOLDER"])]
    case: Vec<String>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        // Without the stack that anyhow keeps where backtraces are on: it says nothing about a count.
        eprintln!("counts: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let [name, folder] = &arguments.case[..] {
        return one(name, Path::new(folder)).map(|()| ExitCode::SUCCESS);
    }
    if let Some(reason) = &arguments.accept {
        ensure!(arguments.only.is_empty(), "baselines are moved all together or not at all, without ONLY");
        ensure!(!reason.trim().is_empty(), "please say why: make counts-accept REASON=\"...\"");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.json");
    match (Baselines::read(&file)?, &arguments.accept) {
        (None, None) => {
            bail!("there is no bench/counts.json; make counts-accept REASON=\"first counted\" makes it")
        }
        (Some(mut before), None) => {
            let counts = counts(&arguments.only)?;
            before.counts.retain(|name, _| name.contains(&arguments.only));
            let comparison = compare(&before, &counts, &MadeWith::here()?);
            print!("{comparison}");
            Ok(judge(&comparison))
        }
        (before, Some(reason)) => {
            let (counts, here) = (counts("")?, MadeWith::here()?);
            let moved = Baselines::moved(before.clone(), &counts, here.clone(), reason);
            print!("{}", compare(before.as_ref().unwrap_or(&moved), &counts, &here));
            moved.write(&file)?;
            println!("\n{} is written; it belongs into the commit that moves the counts.", file.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The cases, in reading order.
fn cases() -> Vec<Case> {
    [routes::cases(), head::cases(), filters::cases(), json::cases(), frames::cases(), edge::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// Does the work of one case, as a process of its own.
fn one(name: &str, folder: &Path) -> Result<()> {
    let case = cases().into_iter().find(|case| case.name == name).context("no such case")?;
    let turns = case.turns;
    let mut work = (case.make)(&Material::read(folder)?);
    work.turn(turns);
    work.prepare(turns);
    let allocated = allocation_counter::measure(|| work.turn(turns));
    work.prepare(turns);
    counted_region(&mut *work, turns);
    let said = Said { turns: turns as u64, allocations: allocated.count_total };
    println!("{}", serde_json::to_string(&said)?);
    // What would be torn down now is counted nowhere, and may wait for threads.
    std::io::stdout().flush()?;
    std::process::exit(0);
}

/// What callgrind counts, by this name.
#[inline(never)]
fn counted_region(work: &mut dyn case::Work, turns: usize) {
    work.turn(turns);
    std::hint::black_box(work);
}

/// Counts the cases whose name has this, as many at a time as there are processors.
fn counts(only: &str) -> Result<Counts> {
    let cases: Vec<&str> = cases().iter().map(|case| case.name).filter(|name| name.contains(only)).collect();
    ensure!(!cases.is_empty(), "no case has `{only}` in its name");
    let scratch = tempfile::tempdir()?;
    Material::write(scratch.path())?;
    let program = std::env::current_exe()?;
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some(name) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let count = callgrind::count(&program, name, scratch.path(), scratch.path());
            found.lock().unwrap().push(((*name).to_owned(), count));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    let found = found.into_inner().unwrap();
    found.into_iter().map(|(name, count)| Ok((name, count?))).collect()
}

/// Says what has to be done, if anything.
fn judge(comparison: &Comparison) -> ExitCode {
    let (grown, shrunk) = (comparison.of(Verdict::Grown), comparison.of(Verdict::Shrunk));
    if shrunk > 0 {
        println!("\n{shrunk} cost less than their baselines say: move them, or the next growth hides there.");
    }
    if comparison.unmatched() {
        println!("\nCases and baselines do not match.");
    }
    if let Some(difference) = &comparison.made_otherwise {
        println!("\nThe baselines were made elsewhere: {difference}. Growth may come from that.");
    }
    if shrunk > 0 || grown > 0 || comparison.unmatched() {
        println!(
            "\nIf it has to be: make counts-accept REASON=\"what it is paid for\", and commit bench/counts.json with the change."
        );
    }
    if comparison.unmatched() || grown > 0 && comparison.made_otherwise.is_none() {
        ExitCode::FAILURE
    } else if grown > 0 {
        ExitCode::from(UNDECIDED)
    } else {
        ExitCode::SUCCESS
    }
}

/// Grown, but the baselines were made with another compiler or on another machine.
const UNDECIDED: u8 = 3;
