//! Tables of conditions.

use serde_json::{Value, json};

use super::*;

const VARIABLES: [&str; 7] = ["claims", "event", "ce", "tags", "key", "channel", "id"];

fn compiled(text: &str) -> Result<Condition, String> {
    let mut report = Report::default();
    let file = report.add_source("routes.yaml", format!("when: {text}\n"));
    let at = sallyport_config::Location { file, line: 1, column: 7 };
    let condition = Condition::compile(&Located::new(text.to_owned(), at), &VARIABLES, &mut report);
    condition.ok_or_else(|| report.to_string())
}

fn condition(text: &str) -> Condition {
    compiled(text).unwrap_or_else(|report| panic!("{text}: {report}"))
}

fn decide(text: &str, claims: &Value, event: &Value) -> Result<bool, EvaluationError> {
    condition(text).holds(&Vars::new().bind("claims", claims).bind("event", event).bind_text("id", "42"))
}

#[test]
fn conditions_hold_or_not() {
    let claims =
        json!({"sub": "u1", "roles": ["clerk", "tester"], "level": 3, "tenant": {"id": "t"}, "none": null});
    let event = json!({
        "owner": "u1", "n": 3, "big": 18_446_744_073_709_551_615_u64, "half": 0.5, "three": 3.0, "text": "grün",
        "items": [{"id": "a", "open": true}, {"id": "b"}], "map": {"k": 1}, "odd name": true, "empty": [],
    });
    for (text, expected) in [
        ("true", true),
        ("false", false),
        ("claims.sub == event.owner", true),
        ("claims[\"sub\"] == event['owner']", true),
        ("claims.sub != event.owner", false),
        ("'clerk' in claims.roles", true),
        ("'x' in claims.roles", false),
        ("'k' in event.map && !('x' in event.map)", true),
        ("claims.roles == ['clerk', 'tester'] && ['clerk', 'tester'] == claims.roles", true),
        ("event.map == {'k': 1.0}", true),
        ("claims.level == event.n && event.n == event.three && event.n < 3.5", true),
        ("event.big == 18446744073709551615u && event.big > 1 && event.half < 1", true),
        (
            "event.n + 1 == 4 && event.n - 4 == -1 && event.n * 2 == 6 && event.n / 2 == 1 && event.n % 2 == 1",
            true,
        ),
        ("event.text + '!' == 'grün!' && size(event.text) == 4", true),
        ("has(event.owner) && !has(event.none) && has(claims.none) && claims.none == null", true),
        ("event['odd name']", true),
        ("event.items[0].id == 'a' && event.items[size(event.items) - 1].id == 'b'", true),
        ("event.items.exists(i, i.id == 'b')", true),
        ("event.items.all(i, i.id < 'c') && event.empty.all(i, false) && !event.empty.exists(i, true)", true),
        ("event.items.exists_one(i, i.id == 'a')", true),
        ("event.items.filter(i, i.id != 'a').map(i, i.id) == ['b']", true),
        ("event.items.map(i, i.id == 'a', i.id) == ['a']", true),
        ("event.map.exists(k, k == 'k')", true),
        ("event.items.exists(i, claims.roles.exists(r, r == 'clerk' && i.id == 'b'))", true),
        ("event.text.startsWith('gr') && event.text.endsWith('n') && event.text.contains('ü')", true),
        ("event.owner.matches('^u[0-9]+$') && matches(event.owner, '1')", true),
        (
            "int('3') == event.n && string(event.n) == '3' && double('0.5') == event.half && uint(3) == 3u",
            true,
        ),
        ("event.n > 2 ? claims.sub == 'u1' : false", true),
        ("{'clerk': 3, 'boss': 9}[claims.roles[0]] >= event.n", true),
        ("id == '42'", true),
        // Absorbed errors, on either side.
        ("event.missing == 1 || true", true),
        ("true || event.missing == 1", true),
        ("event.missing == 1 && false", false),
        ("event.items.exists(i, i.open)", true),
        ("'text' || true", true),
    ] {
        assert_eq!(decide(text, &claims, &event), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_decided_is_an_error() {
    let claims = json!({"sub": "u1", "n": 1});
    let event = json!({"owner": {"id": 1}, "list": [1], "max": i64::MAX, "text": "x"});
    for text in [
        "claims.missing == 'x'",
        "!has(event.missing.deeper)",
        "event.missing == 1 || false",
        "event.missing == 1 && true",
        "event.list.all(i, i.x)",
        "event.list[1] == 1",
        "event.list[-1] == 1",
        "event.text.a == 1",
        "event.text < 1",
        "event.max + 1 > 0",
        "claims.n / 0 == 1",
        "claims.n % 0 == 1",
        "claims.n + 1.5 > 0.0",
        "claims.sub",
        "claims.n",
        "claims.sub ? true : false",
        "!claims.sub",
        "size(claims.n) == 1",
        "claims.n.startsWith('1')",
        "1 in claims.sub",
        "int('x') == 1",
        "int(1e300) == 1",
        "{claims.sub: 1, 'u1': 2} == {}",
        "event.text.exists(x, true)",
        "channel == 'x'",
        "[1][0.5] == 1",
    ] {
        assert!(decide(text, &claims, &event).is_err(), "{text}: {:?}", decide(text, &claims, &event));
    }
    assert_eq!(
        decide("claims.a.b == 'x'", &claims, &event).unwrap_err().to_string(),
        "`claims.a.b` is missing"
    );
    assert_eq!(
        decide("claims.n", &claims, &event).unwrap_err().to_string(),
        "the condition is int, not bool"
    );
    assert_eq!(
        decide("event.text < 1", &claims, &event).unwrap_err().to_string(),
        "`<` does not go with string and int"
    );
}

#[test]
fn faults_are_refused_at_their_place() {
    for (text, place, message) in [
        ("claims.sub == evnt.owner", "1:21", "unknown variable `evnt`"),
        ("claims.sub == evnt.owner", "1:21", "did you mean `event`?"),
        ("x == 1", "1:7", "there are: claims, event, ce, tags, key, channel, id"),
        ("'ü' == evnt", "1:14", "unknown variable `evnt`"),
        ("event.a.startWith('x')", "1:24", "did you mean `startsWith`?"),
        ("now() > 1", "1:10", "unknown function `now`"),
        ("has(event)", "1:11", "`has` asks for a field"),
        ("size(event, 1) == 1", "1:11", "`size` is not called like this"),
        ("event.a.matches(event.b)", "1:28", "has to be a text in quotes"),
        ("event.a.matches('(')", "1:23", "this pattern cannot be read"),
        ("event.a.matches('(a{1000}){1000}')", "1:23", "this pattern cannot be read"),
        ("event.a == b'x'", "1:18", "bytes are not part of the language here"),
        ("'x'", "1:7", "this is a text"),
        ("1 + 1", "1:9", "this is a sum"),
        ("event.a.exists(event, true)", "1:22", "`event` already is a variable"),
        ("event.a.exists(a.b, true)", "1:23", "names the element"),
        ("Foo{a: 1} == 1", "1:10", "messages and their fields"),
        ("event.a == ", "1:17", "ends too early"),
        ("'üü' == )", "1:15", "cannot be read"),
        ("event.a = 1", "1:15", "cannot be read"),
        ("event.?a == 1", "1:12", "cannot be read"),
        ("", "1:7", "this condition is empty"),
    ] {
        let report = compiled(text).expect_err(text);
        assert!(report.contains(message), "{text}: {report}");
        assert!(report.contains(&format!("routes.yaml:{place}\n")), "{text}: {place}: {report}");
    }
}

#[test]
fn reads_are_the_fields_that_count() {
    let reads = |text: &str, variable| match condition(text).reads(variable) {
        Reads::Nothing => "nothing".to_owned(),
        Reads::Whole => "whole".to_owned(),
        Reads::Paths(paths) => paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    assert_eq!(reads("claims.sub == event.owner", "event"), "owner");
    assert_eq!(reads("claims.sub == event.owner", "ce"), "nothing");
    assert_eq!(
        reads("event.user.id == 1 || event.user.name == 'x' || event.a == 1", "event"),
        "a user.id user.name"
    );
    assert_eq!(reads("event.user.id == 1 || size(event.user) == 1", "event"), "user");
    assert_eq!(reads("has(event.user.id)", "event"), "user.id");
    assert_eq!(reads("has(event['user'].id)", "event"), "user.id");
    assert_eq!(reads("event.items[2].id == 1", "event"), "items[2].id");
    assert_eq!(reads("event.items[claims.n].id == 1", "event"), "items");
    assert_eq!(reads("event[claims.field] == 1", "event"), "whole");
    assert_eq!(reads("size(event) == 1", "event"), "whole");
    assert_eq!(reads("event.exists(k, k == 'a') || event.b == 1", "event"), "whole");
    assert_eq!(reads("event.items.exists(i, i.owner == event.owner)", "event"), "items owner");
    assert_eq!(reads("channel == 'x'", "channel"), "whole");
}

#[test]
fn alternatives_say_what_is_needed_at_least() {
    let told = |text: &str| -> Vec<String> {
        let told = |alternative: &Alternative| match alternative {
            Alternative::Equal { left, right } => format!("{left}={right}"),
            Alternative::OfSubscriber(_) => "subscriber".to_owned(),
            Alternative::Other => "other".to_owned(),
        };
        condition(text).alternatives(&["claims", "channel", "id"]).iter().map(told).collect()
    };
    assert_eq!(told("claims.sub == event.owner"), ["claims.sub=event.owner"]);
    assert_eq!(told("event.owner == claims.sub"), ["claims.sub=event.owner"]);
    assert_eq!(told("(event.n > 1 && (claims.t == tags.t)) && true"), ["claims.t=tags.t"]);
    assert_eq!(
        told("'admin' in claims.roles || claims.sub == event.owner || (id == key || event.public)"),
        ["subscriber", "claims.sub=event.owner", "id=key", "other"]
    );
    assert_eq!(told("true"), ["subscriber"]);
    for other in [
        "claims.sub == event.owner ? true : true",
        "!(claims.sub == event.owner)",
        "claims.sub != event.owner",
        "event.a == event.b",
        "(claims.a == event.a || claims.b == event.b) && event.c",
        "claims.sub == event.owner + ''",
        "claims.sub == event.list[claims.n]",
        "event.list.exists(x, x == claims.sub)",
        "[claims.sub == event.owner][0]",
    ] {
        assert_eq!(told(other), ["other"], "{other}");
    }
}

#[test]
fn a_part_of_the_subscriber_is_decided_alone() {
    let condition = condition("claims.level > 2 && 'a' in claims.roles || event.x == 1");
    let alternatives = condition.alternatives(&["claims"]);
    let Alternative::OfSubscriber(part) = &alternatives[0] else { panic!("{alternatives:?}") };
    let may = json!({"level": 3, "roles": ["a"]});
    assert_eq!(part.holds(&Vars::new().bind("claims", &may)), Ok(true));
    let may_not = json!({"level": 2, "roles": ["a"]});
    assert_eq!(part.holds(&Vars::new().bind("claims", &may_not)), Ok(false));
}

#[test]
fn work_is_bounded_and_running_out_of_it_never_holds() {
    let long: Vec<u32> = (0..3000).collect();
    let event = json!({"list": long, "text": "x".repeat(2_000_000)});
    let claims = json!({"list": long});
    for text in [
        "event.list.exists(x, x in claims.list && x == -1)",
        "true || event.list.all(x, event.list.all(y, true))",
        "event.list.all(x, event.list.exists(y, y == -1) || true)",
        "!event.list.exists(x, event.list.exists(y, y == -1))",
        "event.list.all(x, size(event.list.map(y, y)) == 0 || true)",
        "event.text.contains('y') || true",
        "event.text.matches('y$') || true",
        "event.list.exists(x, claims.list == event.list && x == -1) || true",
    ] {
        let result = decide(text, &claims, &event);
        if text.starts_with("true ||") {
            // The work is never begun.
            assert_eq!(result, Ok(true), "{text}");
        } else {
            assert_eq!(result, Err(EvaluationError::TooMuchWork), "{text}");
        }
    }
    assert_eq!(decide("2999 in event.list", &claims, &event), Ok(true));
}

#[test]
fn deep_and_long_sources_are_refused_without_harm() {
    let many = |part: &str, count: usize| part.repeat(count);
    for text in [
        format!("{}true{}", many("(", 1000), many(")", 1000)),
        format!("{}event.a{}", many("[", 1000), many("]", 1000)),
        format!("event{} == 1", many("[0 in event", 300)),
        format!("{}1 == 1", many("1 + ", 1000)),
        format!("{}true", many("event.a ? true : ", 200)),
        format!("{}event.a", many("size(", 600)),
        format!("{}true", many("!(", 1500)),
        format!("1 == {}1", many("-(", 1500)),
        many("event.a.exists(x, ", 200),
        many("(", 4096),
        many("[", 4096),
        many("{", 4096),
        many("'", 4095),
        many("a.", 2048),
        many("&&", 2048),
        "x".repeat(4097),
        format!("event{} == 1", many(".all(x, x == ", 100)),
    ] {
        assert!(compiled(&text).is_err(), "{text}");
    }
    assert!(compiled(&format!("{}true", many("event.a || ", 300))).is_ok());
    assert!(compiled(&format!("{}true", many("!", 3000))).is_ok());
    assert!(compiled(&format!("event{} == 1", many(".a", 2000))).is_err());
}

#[test]
fn comparing_fields_allocates_nothing() {
    let claims = json!({"sub": "u1", "roles": ["a", "b"], "level": 3});
    let event = json!({"owner": "u1", "level": 2, "viewers": ["u0", "u1"]});
    for text in [
        "claims.sub == event.owner",
        "claims.sub in event.viewers && claims.level >= event.level && event.owner.matches('^u')",
        "event.missing == claims.sub || 'b' in claims.roles",
    ] {
        let condition = condition(text);
        let ask = || condition.holds(&Vars::new().bind("claims", &claims).bind("event", &event));
        // The first match of a pattern allocates its cache.
        assert_eq!(ask(), Ok(true), "{text}");
        let counted = allocation_counter::measure(|| assert_eq!(ask(), Ok(true)));
        assert_eq!(counted.count_total, 0, "{text}");
    }
}
