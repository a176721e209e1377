//! What a query of a view costs: `cargo run --release -p sallyport-aggregator --example query_rate [rows]`.
//!
//! Pages of 50 rows of a view of a million, by an index and from memory; CPU time of the whole process, so that threads
//! that wake each other count, too. It writes a store of some hundreds of megabytes into a folder that it deletes.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use sallyport_aggregator::views::column::ColumnValue;
use sallyport_aggregator::views::query::Queries;
use sallyport_aggregator::views::query::Queryable;
use sallyport_aggregator::views::query::shape::Shape;
use sallyport_aggregator::views::table::Table;
use sallyport_aggregator::views::versions::{Offsets, State, Store, Touched, Versions};
use sallyport_condition::Condition;
use sallyport_config::view::ViewQuery;
use sallyport_config::{Located, Report};
use serde_json::{Value, json};

/// Rows of an owner.
const OWNED: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.sqlite");
    let shape = shape().ok_or("the condition is wrong")?;
    write(&path, &shape, count)?;
    let versions = Arc::new(Versions::new());
    let state = State {
        store: Some(Store { path: path.as_path().into(), number: 1 }),
        offsets: Offsets((0..6).map(|partition| ("t".into(), partition, 1000)).collect()),
        complete: true,
    };
    versions.committed(&Touched::default(), state);
    let view = Queryable::new(shape, versions);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let owners = (count / OWNED).max(1);
    let client =
        |number: usize| Arc::new(json!({"sub": format!("user-{}", number * 7919 % owners), "roles": []}));
    let admin = |_| Arc::new(json!({"sub": "a", "roles": ["admin"]}));
    for (name, hot_bytes, rounds, query, who) in [
        ("own rows by key", 0, 10_000, "", &client as &dyn Fn(usize) -> Arc<Value>),
        ("own rows, newest first", 0, 10_000, "order=-created_at", &client),
        ("own open rows", 0, 10_000, "status=open", &client),
        ("all rows, newest first", 0, 10_000, "order=-created_at", &admin),
        ("all open rows, newest first", 0, 10_000, "status=open&order=-created_at", &admin),
        (
            "all open or held rows, newest first",
            0,
            10_000,
            "status=open&status=held&order=-created_at",
            &admin,
        ),
        ("own rows, count and groups", 0, 10_000, "count=true&group=status", &client),
        ("own rows, three fields", 0, 10_000, "fields=key,title,status", &client),
        ("from memory, newest first", 64 << 20, 100_000, "order=-created_at", &admin),
        ("from memory, own rows of one", 64 << 20, 100_000, "status=open&order=-created_at", &|_| client(3)),
    ] {
        let queries = Queries::start(hot_bytes)?;
        let mut bytes = 0;
        let mut ask = |number: usize| -> Result<(), Box<dyn Error>> {
            let outcome = runtime.block_on(queries.find(&view, query, Some(&who(number)), None))?;
            bytes += outcome.body().map_or(0, |body| body.len());
            Ok(())
        };
        // Connections are opened, and pages of the store read.
        (0..rounds / 10).try_for_each(&mut ask)?;
        let (wall, cpu) = (Instant::now(), cpu_seconds()?);
        (0..rounds).try_for_each(&mut ask)?;
        let each = |seconds: f64| seconds * 1e6 / rounds as f64;
        let (cpu, wall) = (each(cpu_seconds()? - cpu), each(wall.elapsed().as_secs_f64()));
        println!("{name:<40} {cpu:>8.1} us CPU {wall:>8.1} us, {} bytes", bytes / (rounds + rounds / 10));
    }
    Ok(())
}

fn shape() -> Option<Shape> {
    let visible_to = Located::nowhere("row.owner == claims.sub || 'admin' in claims.roles".to_owned());
    let visible_to = Condition::compile(&visible_to, &["row", "claims"], &mut Report::default())?;
    let fields: Vec<Arc<str>> = ["owner", "status", "created_at", "title"].map(Into::into).to_vec();
    let mut table = Table::default();
    let columns: Vec<usize> = fields.iter().take(3).map(|field| table.add(field)).collect();
    let [owner, status, created] = columns[..] else { return None };
    table.indexes = vec![vec![owner], vec![created], vec![owner, created], vec![status, created]];
    Some(Shape {
        name: "v".into(),
        topics: vec!["t".into()],
        fields,
        table,
        visible_to,
        query: ViewQuery::default(),
    })
}

fn write(path: &std::path::Path, shape: &Shape, count: usize) -> Result<(), Box<dyn Error>> {
    let store = Connection::open(path)?;
    store.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")?;
    shape.table.create(&store)?;
    let transaction = store.unchecked_transaction()?;
    for partition in 0..6 {
        transaction.execute("INSERT INTO offsets VALUES ('t', ?1, 1000)", [partition])?;
    }
    let sql = "INSERT INTO rows(key, doc, f_owner, f_status, f_created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = transaction.prepare(sql)?;
    let owners = (count / OWNED).max(1);
    for number in 0..count {
        // Owners' rows lie far apart, as they come.
        let owner = format!("user-{}", number % owners);
        let status = ["open", "held", "done", "done", "done"][number / owners % 5];
        let created = format!(
            "2026-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            number % 12 + 1,
            number % 28 + 1,
            number % 24,
            number / 7 % 60,
            number % 59
        );
        let title =
            "An essay that somebody has handed in, and that somebody else is to read before it is told ";
        let doc = json!({"owner": owner, "status": status, "created_at": created, "title": format!("{title}{number}"), "pages": number % 17});
        let text = |text: &str| ColumnValue::Text(text.into());
        insert.execute((
            format!("batch-{number:08}"),
            doc.to_string().into_bytes(),
            text(&owner),
            text(status),
            text(&created),
        ))?;
    }
    drop(insert);
    transaction.commit()?;
    store.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

/// CPU time of this process and its threads, in seconds: Linux only.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let mut nanoseconds = 0u64;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += text.split(' ').next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}
