//! Queries as clients send them.

use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::testing::{Rows, batch, row, shape, shape_for};
use super::*;
use crate::views::column::ColumnValue;
use crate::views::versions::Touched;

/// A view with a store in a folder, and somebody who asks.
struct Desk {
    rows: Rows,
    view: Queryable,
    queries: Queries,
    _folder: TempDir,
}

fn desk_of(shape: Shape) -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let rows = Rows::new(shape.clone(), &folder.path().join("rows.sqlite"));
    let view = Queryable::new(shape, rows.versions.clone());
    Desk { rows, view, queries: Queries::start(1 << 20).unwrap(), _folder: folder }
}

fn desk() -> Desk {
    desk_of(shape())
}

fn claims(sub: &str) -> Arc<Value> {
    Arc::new(json!({"sub": sub, "roles": []}))
}

fn admin() -> Arc<Value> {
    Arc::new(json!({"sub": "a", "roles": ["admin"]}))
}

fn asked(query: &str, claims: Option<Arc<Value>>) -> Asked {
    Asked {
        route: "batches".into(),
        method: Method::GET,
        query: query.into(),
        params: Vec::new(),
        claims,
        client: IpAddr::from([127, 0, 0, 1]),
        request_id: "r1".into(),
        headers: HeaderMap::new(),
        identity: Vec::new(),
        body: bytes::Bytes::new(),
    }
}

impl Desk {
    async fn text(&self, query: &str, who: &Arc<Value>) -> Result<String, Refusal> {
        let outcome = self.queries.find(&self.view, query, Some(who), None).await?;
        Ok(String::from_utf8(outcome.body().unwrap().to_vec()).unwrap())
    }

    async fn page(&self, query: &str, who: &Arc<Value>) -> Value {
        let text = self.text(query, who).await.unwrap_or_else(|refusal| panic!("{query}: {refusal}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{query}: {error}: {text}"))
    }

    async fn keys(&self, query: &str, who: &Arc<Value>) -> String {
        keys(&self.page(query, who).await).join(" ")
    }

    fn commit(&mut self, rows: impl IntoIterator<Item = (&'static str, Value)>) {
        let rows: Vec<_> = rows.into_iter().map(|(key, row)| (key.to_owned(), Some(row))).collect();
        self.rows.commit(&rows);
    }

    fn hits(&self) -> u64 {
        self.queries.counts().1
    }
}

fn keys(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.to_str().unwrap())
}

fn some_rows() -> Vec<(&'static str, Value)> {
    vec![
        ("k1", batch("u1", "open", "2026-01-03")),
        ("k2", batch("u1", "done", "2026-01-01")),
        ("k3", batch("u2", "open", "2026-01-02")),
        ("k4", batch("u1", "open", "2026-01-02")),
        ("k5", row([("owner", json!("u1")), ("size", json!(5)), ("created_at", json!(null))])),
        ("k6", row([("owner", json!("u1")), ("size", json!("5")), ("status", json!(true))])),
        ("k7", row([("owner", json!("u1")), ("size", json!(7.5)), ("status", json!("true"))])),
        ("k8", row([("owner", json!("u1")), ("size", json!(12))])),
    ]
}

#[tokio::test]
async fn rows_are_filtered_ordered_and_told_byte_for_byte() {
    let mut desk = desk();
    desk.commit(some_rows());
    let me = claims("u1");
    for (query, expected) in [
        ("", "k1 k2 k4 k5 k6 k7 k8"),
        ("order=-key&limit=2", "k8 k7"),
        ("status=open", "k1 k4"),
        ("status=open&status=done", "k1 k2 k4"),
        ("status=open&status=done&order=created_at", "k2 k4 k1"),
        ("status=open&status=done&order=-created_at", "k1 k4 k2"),
        ("owner=u1&order=created_at", "k5 k6 k7 k8 k2 k4 k1"),
        ("order=-created_at&limit=3", "k1 k4 k2"),
        ("created_at[gte]=2026-01-02", "k1 k4"),
        ("created_at[gt]=2026-01-01&created_at[lt]=2026-01-03", "k4"),
        ("created_at[lte]=2026-01-02&order=-created_at", "k4 k2"),
        ("size=5", "k5 k6"),
        ("size=5.0", "k5"),
        ("size=%225%22", "k6"),
        ("size[gt]=5", "k7 k8"),
        ("size[lte]=7.5&order=size", "k5 k7"),
        ("size[gte]=%22%22", "k6"),
        ("status=true", "k6 k7"),
        ("status=%22true%22", "k7"),
        ("created_at=null", "k5 k6 k7 k8"),
        ("created_at=%22null%22", ""),
        ("owner=u2", ""),
        ("size=5&size=12&status=null&order=size", "k5 k8"),
    ] {
        assert_eq!(desk.keys(query, &me).await, expected, "{query}");
    }
    assert_eq!(desk.keys("", &admin()).await, "k1 k2 k3 k4 k5 k6 k7 k8");
    assert_eq!(desk.keys("", &claims("u3")).await, "");
    assert_eq!(
        desk.text("limit=1", &me).await.unwrap().split(",\"next\"").next(),
        Some(
            r#"{"items":[{"key":"k1","created_at":"2026-01-03","owner":"u1","status":"open","title":"open of u1"}]"#
        )
    );
    assert_eq!(
        desk.text("status=done&fields=title,key,status", &me).await.unwrap(),
        r#"{"items":[{"key":"k2","status":"done","title":"done of u1"}]}"#
    );
    assert_eq!(desk.text("status=done&fields=size", &me).await.unwrap(), r#"{"items":[{}]}"#);
}

#[tokio::test]
async fn counts_and_groups_are_those_of_visible_rows() {
    let mut desk = desk();
    desk.commit(some_rows());
    let text = desk.text("limit=0&count=true&group=status", &claims("u1")).await.unwrap();
    let expected = r#"{"items":[],"count":7,"groups":[{"value":null,"n":2},{"value":"done","n":1},{"value":"open","n":2},{"value":"true","n":1},{"value":true,"n":1}]}"#;
    assert_eq!(text, expected);
    let text =
        desk.text("limit=1&count=true&group=size&status=null&status=true", &claims("u1")).await.unwrap();
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (page["count"].as_u64(), page["groups"].clone()),
        (
            Some(4),
            json!([{"value": 5, "n": 1}, {"value": 7.5, "n": 1}, {"value": 12, "n": 1}, {"value": "5", "n": 1}])
        )
    );
    // The place of a page makes no difference to what is counted.
    let next =
        format!("limit=1&count=true&status=null&status=true&cursor={}", page["next"].as_str().unwrap());
    assert_eq!(desk.page(&next, &claims("u1")).await["count"], 4);
    let many: Vec<_> = (0..=GROUPS_MAX)
        .map(|number| (format!("g{number}"), Some(json!({"owner": "u9", "size": number}))))
        .collect();
    desk.rows.commit(&many);
    let page = desk.page("limit=0&group=size", &claims("u9")).await;
    assert_eq!((page["groups"].as_array().unwrap().len(), &page["groups_cut"]), (GROUPS_MAX, &json!(true)));
}

#[tokio::test]
async fn one_row_is_told_or_not_there() {
    let mut desk = desk();
    desk.commit(some_rows());
    let status = async |query: &str, key: &str, who: Option<Arc<Value>>| {
        let answer = desk.queries.answer(&desk.view, &asked(query, who), Some(key)).await;
        (answer.status.as_u16(), answer.body.concat())
    };
    let (found, body) = status("fields=status", "k2", Some(claims("u1"))).await;
    assert_eq!((found, body.as_slice()), (200, &br#"{"status":"done"}"#[..]));
    for (key, who, expected) in [
        ("k2", None, 404),
        ("k2", Some(claims("u2")), 404),
        ("k9", Some(admin()), 404),
        ("k2", Some(admin()), 200),
    ] {
        // Twice, since the second answer comes from memory.
        for _ in 0..2 {
            assert_eq!(status("", key, who.clone()).await.0, expected, "{key} {who:?}");
        }
    }
    let unseen = status("", "k2", Some(claims("u2"))).await.1;
    assert_eq!(unseen, status("", "none", Some(claims("u2"))).await.1);
    assert_eq!(status("limit=1", "k2", Some(admin())).await.0, 400);
}

#[tokio::test]
async fn a_row_that_has_a_key_of_its_own_keeps_it() {
    let mut shape = shape_for("true");
    shape.fields.push("key".into());
    let mut desk = desk_of(shape);
    desk.commit([("k1", json!({"key": "mine", "title": "t"})), ("k2", json!({}))]);
    let text = desk.text("", &admin()).await.unwrap();
    assert_eq!(text, r#"{"items":[{"key":"mine","title":"t"},{}]}"#);
}

#[tokio::test]
async fn answers_from_memory_hold_until_a_row_of_theirs_changes() {
    let mut desk = desk_of(shape_for("row.owner == claims.sub || 'admin' in claims.roles"));
    desk.commit(some_rows());
    let (one, two) = (claims("u1"), claims("u2"));
    let mine = desk.text("status=open", &one).await.unwrap();
    assert_eq!(desk.text("status=open&limit=50", &one).await.unwrap(), mine);
    assert_eq!(desk.hits(), 1);
    // Other people have answers of their own.
    assert_eq!(desk.keys("status=open", &two).await, "k3");
    assert_eq!(desk.hits(), 1);
    // A row of somebody else changes nothing of ours.
    let all = desk.text("", &one).await.unwrap();
    desk.commit([("k9", batch("u3", "open", "2026-02-01"))]);
    let answer = desk.queries.answer(&desk.view, &asked("", Some(one.clone())), None).await;
    assert_eq!((answer.body.concat(), header(&answer, "view-offsets")), (all.into_bytes(), Some("t/0@1")));
    assert_eq!((desk.text("status=open", &one).await.unwrap(), desk.hits()), (mine, 3));
    // Nor does one of ours that is not open, before or after, to those that are.
    let done = desk.text("status=open&limit=7", &one).await.unwrap();
    desk.commit([("k2", batch("u1", "held", "2026-02-01"))]);
    assert_eq!((desk.text("status=open&limit=7", &one).await.unwrap(), desk.hits()), (done, 4));
    desk.commit([("k2", batch("u1", "open", "2026-02-01"))]);
    assert_eq!((desk.keys("status=open", &one).await, desk.hits()), ("k1 k2 k4".to_owned(), 4));
    desk.rows.commit(&[("k1".to_owned(), None)]);
    assert_eq!((desk.keys("status=open", &one).await, desk.hits()), ("k2 k4".to_owned(), 4));
    // What has not changed says so.
    let mut request = asked("status=open", Some(one));
    let answer = desk.queries.answer(&desk.view, &request, None).await;
    request
        .headers
        .insert(header::IF_NONE_MATCH, HeaderValue::from_str(header(&answer, "etag").unwrap()).unwrap());
    assert_eq!(desk.queries.answer(&desk.view, &request, None).await.status, StatusCode::NOT_MODIFIED);
    desk.commit([("k1", batch("u1", "open", "2026-02-01"))]);
    assert_eq!(desk.queries.answer(&desk.view, &request, None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_commit_that_lands_meanwhile_is_not_missed() {
    let mut desk = desk();
    desk.commit(some_rows());
    // Committed, and not told yet: the rows are newer than what is said, and are fetched again once it is told.
    let touched = desk.rows.write(&[("k9".to_owned(), Some(batch("u1", "open", "2026-02-01")))]);
    let request = asked("status=open", Some(claims("u1")));
    let answer = desk.queries.answer(&desk.view, &request, None).await;
    assert_eq!(header(&answer, "view-offsets"), Some("t/0@1"));
    desk.rows.publish(&touched);
    assert_eq!(desk.keys("status=open", &claims("u1")).await, "k1 k4 k9");
    assert_eq!(desk.hits(), 0);
    // Told of after the versions were noted, and before the answer is kept.
    let noted = desk.rows.versions.note(&[]);
    desk.commit([("k1", batch("u1", "done", "2026-02-01"))]);
    desk.queries.hot.keep(b"key", noted, Kept::new(None, Offsets::default()));
    assert!(desk.queries.hot.find(b"key", &desk.rows.versions).is_none());
}

#[tokio::test]
async fn min_offset_waits_for_the_record_and_no_longer_than_it_may() {
    let mut shape = shape();
    shape.query.wait = "1ms".parse().unwrap();
    let mut desk = desk_of(shape);
    desk.commit(some_rows());
    assert_eq!(desk.keys("status=open&min_offset=t/0@0", &claims("u1")).await, "k1 k4");
    let refusal = desk.text("min_offset=t/0@1", &claims("u1")).await.unwrap_err();
    assert_eq!((refusal.status.as_u16(), refusal.code), (504, "view-behind"));
    assert_eq!(desk.text("min_offset=t/1@0", &claims("u1")).await.unwrap_err().status, 504);
    let mut patient = Shape::clone(&desk.view.shape);
    patient.query.wait = "1h".parse().unwrap();
    desk.view = Queryable::new(patient, desk.rows.versions.clone());
    let touched = desk.rows.write(&[("k9".to_owned(), Some(batch("u1", "open", "2026-02-01")))]);
    let query = async { desk.keys("status=open&min_offset=0@1", &claims("u1")).await };
    let told = async {
        tokio::task::yield_now().await;
        desk.rows.publish(&touched);
    };
    assert_eq!(tokio::join!(query, told).0, "k1 k4 k9");
}

#[tokio::test]
async fn a_view_without_a_store_is_being_built_and_another_store_takes_its_place() {
    let mut desk = desk();
    desk.commit(some_rows());
    let store = desk.rows.state().store.take();
    desk.rows.publish(&Touched::default());
    let refusal = desk.text("", &admin()).await.unwrap_err();
    assert_eq!(
        (refusal.status.as_u16(), refusal.code, refusal.retry_after),
        (503, "view-being-built", Some(1))
    );
    // The file is not there: there is nothing to try again, either.
    desk.rows.state().store =
        store.clone().map(|store| Store { path: store.path.join("none").into(), ..store });
    desk.rows.publish(&Touched::default());
    assert_eq!(desk.text("", &admin()).await.unwrap_err().code, "view-unavailable");
    desk.rows.state().store = store.clone();
    desk.rows.publish(&Touched::default());
    let before = desk.text("", &admin()).await.unwrap();
    // Another store, though no row of the old one was touched.
    let folder = tempfile::tempdir().unwrap();
    let mut other = Rows::new(shape(), &folder.path().join("rows.sqlite"));
    other.commit(&[("k1".to_owned(), Some(batch("u1", "new", "2027")))]);
    let path = other.state().store.clone().unwrap().path;
    desk.rows.state().store = Some(Store { path, number: 2 });
    desk.rows.state().complete = false;
    desk.rows.publish(&Touched::default());
    let answer = desk.queries.answer(&desk.view, &asked("", Some(admin())), None).await;
    assert_ne!(answer.body.concat(), before.into_bytes());
    assert_eq!(header(&answer, "view-complete"), Some("false"));
}

#[tokio::test]
async fn a_query_that_takes_too_long_ends_and_its_thread_goes_on() {
    const ENDLESS: &str =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let mut desk = desk();
    desk.commit(some_rows());
    let store = desk.rows.state().store.clone().unwrap();
    let endless = |timeout: Duration, tell: mpsc::Sender<bool>| {
        let work = move |connection: &rusqlite::Connection| {
            tell.send(false).unwrap();
            let result = connection.query_row(ENDLESS, (), |row| row.get::<_, i64>(0));
            tell.send(true).unwrap();
            Ok(result?)
        };
        desk.queries.readers.ask(&store, Arc::default(), timeout, work)
    };
    let (tell, told) = mpsc::channel();
    // More than there are threads.
    for _ in 0..20 {
        let fault = endless(Duration::from_millis(5), tell.clone()).await.unwrap_err();
        assert_eq!(desk.view.refusal(fault).code, "query-timeout");
    }
    drop(tell);
    // It ends when all of them have; those that waited too long have not begun.
    let (ended, begun): (Vec<bool>, Vec<bool>) = told.iter().partition(|ended| *ended);
    assert_eq!(ended.len(), begun.len());
    // A client that leaves.
    let (tell, told) = mpsc::channel();
    {
        let mut left = std::pin::pin!(endless(Duration::from_secs(3600), tell));
        assert!(futures_poll(left.as_mut()).await);
        assert!(!told.recv().unwrap());
    }
    assert!(told.recv().unwrap());
    assert_eq!(desk.keys("status=open", &claims("u1")).await, "k1 k4");
}

/// Asks a future once; whether it waits.
async fn futures_poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// Rows that are looked up by an index and put in no order but its own.
#[tokio::test]
async fn an_index_finds_and_orders_without_looking_at_all_rows() {
    let desk = desk();
    let shape = &desk.rows.shape;
    readers::add_row_holds(desk.rows.store(), |_, _| false).unwrap();
    let cursor = |query: &str, value: ColumnValue| {
        let place = cursor::Place { value, key: "k".to_owned() };
        let wanted = Wanted::read(query, shape).unwrap();
        format!("{query}&cursor={}", cursor::write(wanted.fingerprint(shape), &place).unwrap())
    };
    let at = || ColumnValue::Text("2026".into());
    let null = || ColumnValue::Null;
    let boss = admin();
    for (query, who, expected) in [
        ("owner=u1".to_owned(), &boss, "(f_owner=?)"),
        ("order=-key".to_owned(), &boss, "USING INDEX sqlite_autoindex_rows_1"),
        ("order=created_at".to_owned(), &boss, "USING INDEX index_2"),
        ("order=-created_at".to_owned(), &boss, "USING INDEX index_2"),
        ("owner=u1&order=-created_at".to_owned(), &boss, "index_3 (f_owner=?)"),
        (
            "owner=u1&created_at[gte]=2026&created_at[lt]=2027&order=created_at".to_owned(),
            &boss,
            "index_3 (f_owner=? AND f_created_at>? AND f_created_at<?)",
        ),
        ("size[gte]=5&order=size".to_owned(), &boss, "index_5 (f_size>? AND f_size<?)"),
        (cursor("", null()), &boss, "(key>?)"),
        (cursor("order=created_at", at()), &boss, "index_2 ((f_created_at,key)>(?,?))"),
        (cursor("order=-created_at", at()), &boss, "index_2 ((f_created_at,key)<(?,?))"),
        (cursor("order=created_at", null()), &boss, "index_2 (f_created_at=? AND key>?)"),
        (
            cursor("owner=u1&order=-created_at", at()),
            &boss,
            "index_3 (f_owner=? AND (f_created_at,key)<(?,?))",
        ),
        (
            cursor("owner=u1&order=created_at&created_at[gte]=2025", at()),
            &boss,
            "index_3 (f_owner=? AND (f_created_at,key)>(?,?)",
        ),
        ("limit=0&count=true&owner=u1".to_owned(), &boss, "(f_owner=?)"),
    ] {
        let plans = plans(&desk.rows, &query, who);
        assert!(plans[0].contains(expected), "{query}: {plans:?}");
        let odd = |plan: &String| {
            plan.contains("TEMP B-TREE") || plan.starts_with("SCAN rows\n") || plan.ends_with("SCAN rows")
        };
        assert!(!plans.iter().any(odd), "{query}: {plans:?}");
    }
    // Several values are looked up one by one; only the rows of a page each are put in order.
    let plan = plans(&desk.rows, "status=open&status=done&order=created_at", &boss).remove(0);
    assert_eq!(plan.matches("index_4 (f_status=?)").count(), 2, "{plan}");
    let lines: Vec<&str> = plan.lines().collect();
    let sorted = |pair: &&[&str]| pair[1].contains("TEMP B-TREE") && !pair[0].starts_with("SCAN (subquery");
    assert_eq!(lines.windows(2).find(sorted), None, "{plan}");
}

/// What somebody may see by a list of his is found as if he asked for each.
#[tokio::test]
async fn rows_of_several_owners_come_in_the_order_of_an_index() {
    let mut desk = desk_of(shape_for("row.owner in claims.teams"));
    desk.commit(some_rows());
    let who = Arc::new(json!({"sub": "x", "teams": ["u1", "u2", "u1"]}));
    assert_eq!(desk.keys("order=created_at&created_at[gt]=%222026%22&limit=3", &who).await, "k2 k3 k4");
    assert_eq!(desk.keys("owner=u2", &who).await, "k3");
    assert_eq!(desk.page("limit=0&count=true&owner=u1&owner=u3", &who).await["count"], 7);
    assert!(desk.queries.find(&desk.view, "", Some(&who), Some("k3")).await.unwrap().body().is_some());
    assert!(
        desk.queries.find(&desk.view, "", Some(&claims("u2")), Some("k3")).await.unwrap().body().is_none()
    );
    let plan = plans(&desk.rows, "order=-created_at", &who).remove(0);
    assert_eq!(plan.matches("index_3 (f_owner=?)").count(), 2, "{plan}");
}

fn plans(rows: &Rows, query: &str, who: &Arc<Value>) -> Vec<String> {
    let wanted = Wanted::read(query, &rows.shape).unwrap();
    let statements = Statements::of_page(&wanted, &rows.shape, Some(who));
    let all = statements.page.iter().chain(&statements.count).chain(&statements.groups);
    all.map(|sql| {
        let mut statement = rows.store().prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = statement.parameter_count();
        let values = rusqlite::params_from_iter(&statements.values[..count]);
        let lines = statement.query_map(values, |row| row.get::<_, String>(3)).unwrap();
        lines.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    })
    .collect()
}

fn any_row() -> impl Strategy<Value = Value> {
    let value = |texts: &'static [&'static str]| {
        prop_oneof![
            4 => prop::sample::select(texts).prop_map(Value::from),
            1 => prop::sample::select(vec![json!(null), json!(true), json!(false), json!(1), json!(2), json!(1.5), json!([1])]),
        ]
    };
    (value(&["u1", "u2"]), value(&["open", "done", "1"]), prop::option::of(value(&["2026", "2027", ""])))
        .prop_map(|(owner, status, created)| {
            let mut row = row([("owner", owner), ("status", status)]);
            if let Some(created) = created {
                row["created_at"] = created;
            }
            row
        })
}

fn any_query() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "owner=u1",
        "owner=u2",
        "status=open",
        "status=done",
        "status=1",
        "status=true",
        "status=null",
        "created_at=2026",
        "created_at[gte]=2026",
        "created_at[lt]=2027",
        "created_at[gt]=1",
        "created_at[lte]=2",
        "status[gte]=%22%22",
        "status[lt]=done",
    ]);
    let order = prop::sample::select(vec![
        "",
        "order=created_at",
        "order=-created_at",
        "order=status",
        "order=-status",
        "order=-key",
        "order=owner",
    ]);
    (prop::collection::vec(part, 0..3), order).prop_map(|(parts, order)| {
        parts.into_iter().chain([order]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&")
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Rows that are there throughout come once each and in order, whatever is written between pages.
    #[test]
    fn pages_one_behind_the_other_are_the_whole(
        rows in prop::collection::vec(any_row(), 0..30),
        later in prop::collection::vec((0usize..60, prop::option::of(any_row())), 0..20),
        query in any_query(),
        limit in 1usize..5,
    ) {
        // Two of these may ask for one side of one field: then there are no pages.
        prop_assume!(Wanted::read(&query, &shape()).is_ok());
        run(async {
            let mut desk = desk();
            let rows: Vec<_> = rows.into_iter().enumerate().map(|(number, row)| (format!("k{:02}", number * 2), Some(row))).collect();
            desk.rows.commit(&rows);
            let who = admin();
            let whole = keys(&desk.page(&format!("{query}&limit=200"), &who).await);
            let touched: Vec<String> = later.iter().map(|(number, _)| format!("k{number:02}")).collect();
            let mut later = later.into_iter();
            let (mut walked, mut cursor) = (Vec::new(), String::new());
            for page in 0.. {
                assert!(page < 200, "{query} has no end");
                let page = desk.page(&format!("{query}&limit={limit}{cursor}"), &who).await;
                walked.extend(keys(&page));
                let Some(next) = page["next"].as_str() else { break };
                cursor = format!("&cursor={next}");
                if let Some((number, row)) = later.next() {
                    desk.rows.commit(&[(format!("k{number:02}"), row)]);
                }
            }
            let still = |keys: &[String]| keys.iter().filter(|key| !touched.contains(key)).cloned().collect::<Vec<_>>();
            assert_eq!(still(&walked), still(&whole), "{query}");
        });
    }

    /// Whatever is written, an answer from memory is the one that the store would give.
    #[test]
    fn what_is_kept_is_what_the_store_has(
        steps in prop::collection::vec((0usize..6, prop::option::of(any_row())), 1..16),
        queries in prop::collection::vec((any_query(), prop::sample::select(vec!["", "&count=true", "&group=status", "&limit=1"])), 1..5),
    ) {
        run(async {
            let mut desk = desk();
            let forgetful = Queries::start(0).unwrap();
            for (number, row) in steps {
                desk.rows.commit(&[(format!("k{number}"), row)]);
                for (query, more) in &queries {
                    for who in [claims("u1"), claims("u2"), admin()] {
                        let query = format!("{query}{more}");
                        let Ok(hot) = desk.queries.find(&desk.view, &query, Some(&who), None).await else { continue };
                        let cold = forgetful.find(&desk.view, &query, Some(&who), None).await.unwrap();
                        assert_eq!(hot.body(), cold.body(), "{query} {who}");
                        assert_eq!(hot.offsets(), cold.offsets(), "{query} {who}");
                        let key = format!("k{number}");
                        let hot = desk.queries.find(&desk.view, "", Some(&who), Some(&key)).await.unwrap();
                        let cold = forgetful.find(&desk.view, "", Some(&who), Some(&key)).await.unwrap();
                        assert_eq!(hot.body(), cold.body(), "{key} {who}");
                    }
                }
            }
            assert_eq!(forgetful.counts().1, 0);
        });
    }

    #[test]
    fn whatever_is_asked_the_answer_is_no_fault_of_ours(
        queries in prop::collection::vec(prop_oneof![
            "[a-z_=&%+\\[\\]\\-0-9\"@/,.é]{0,40}",
            "(owner|status|created_at|size|order|limit|cursor|count|group|fields|title|secret)(\\[(eq|gt|gte|lt|lte|x)\\])?=(true|-?[0-9e.]{1,25}|-?created_at|open|null|%22a%22|[A-Za-z0-9_-]{0,30})(&[a-z_]{1,10}=[a-z0-9%-]{0,10}){0,3}",
            any_query(),
        ], 1..20),
    ) {
        run(async {
            let mut desk = desk();
            desk.commit(some_rows());
            for query in queries {
                for (who, key) in [(Some(claims("u1")), None), (None, None), (Some(admin()), Some(&*query))] {
                    let answer = desk.queries.answer(&desk.view, &asked(&query, who), key).await;
                    assert!(answer.status.as_u16() < 500, "{query}: {}", answer.status);
                    let _: Value = serde_json::from_slice(&answer.body.concat()).unwrap();
                }
            }
        });
    }
}
