//! How far a view has come: told with each answer, waited for where a client asks for it.

use sallyport_testkit::wait::until;
use sallyport_testkit::{Mode, Response};
use serde_json::json;

use super::{ask, broker, document, folded, happened, register, send, start};

stories!(
    a_client_reads_what_it_wrote,
    a_wait_for_more_than_there_is_ends,
    answers_say_how_far_the_view_is,
    an_answer_that_has_not_changed_is_304,
    max_age_is_told_to_the_clients_own_cache,
);

async fn a_client_reads_what_it_wrote(mode: Mode) {
    let broker = broker("batches", 4);
    let composed = start(mode, &broker, "  # nothing\n").await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    // Each time the query is there before the view is: no wait of the story's own.
    for count in 1..=20 {
        let place = happened(&broker, "b1", "checked").await;
        let row = document(&composed, "ann", &format!("/batches/b1?min_offset={place}")).await;
        assert_eq!(row["checked"], count, "{place}");
        let (_, plain) = place.split_once('/').expect("a topic");
        let page = document(&composed, "ann", &format!("/batches?min_offset={plain}")).await;
        assert_eq!(page["items"][0]["checked"], count, "{plain}");
    }
    // What an answer says of itself can be asked for.
    let answer = ask(&composed, Some("ann"), "/batches", &[]).await.expect(200);
    let offsets = answer.header("View-Offsets").expect("offsets").replace(' ', "");
    ask(&composed, Some("ann"), &format!("/batches?min_offset={offsets}"), &[]).await.expect(200);
}

async fn a_wait_for_more_than_there_is_ends(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "    query: { wait: 50ms }\n").await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    for target in
        ["/batches?min_offset=0@1", "/batches/b1?min_offset=batches/0@999", "/batches?min_offset=7@0"]
    {
        let answer = ask(&composed, Some("ann"), target, &[]).await;
        assert_eq!(answer.header("Retry-After"), Some("1"), "{target}");
        let problem = answer.problem(504, "view-behind");
        assert_eq!(problem["parameter"], "min_offset");
    }
    // Nobody else has waited.
    ask(&composed, Some("ann"), "/batches/b1", &[]).await.expect(200);
}

async fn answers_say_how_far_the_view_is(mode: Mode) {
    let broker = broker("batches", 2);
    let composed = start(mode, &broker, "    rows_max: 2\n").await;
    let mut places =
        vec![register(&broker, "b1", "ann", "t").await, register(&broker, "b2", "bob", "t").await];
    places.push(happened(&broker, "b1", "closed").await);
    places.sort();
    let all: Vec<&str> = places.iter().map(String::as_str).collect();
    folded(&composed, "/batches", &all).await;
    // An answer of a row, of a page, and of a row that is not there.
    for (target, status) in [("/batches/b1", 200), ("/batches", 200), ("/batches/b2", 404)] {
        let answer = until("no lag is left", || async {
            let answer = ask(&composed, Some("ann"), target, &[]).await;
            (answer.header("View-Lag") == Some("0")).then_some(answer)
        })
        .await
        .expect(status);
        let told: Vec<&str> = answer.header("View-Offsets").expect("offsets").split(", ").collect();
        let newest = |partition: char| {
            let of = |place: &&&str| place.starts_with(&format!("batches/{partition}@"));
            all.iter().filter(of).max().copied()
        };
        assert_eq!(told, ['0', '1'].into_iter().filter_map(newest).collect::<Vec<_>>(), "{target}");
        assert_eq!(answer.header("View-Complete"), None);
    }
    // One row too many: it is left out, and answers say so.
    let last = register(&broker, "b3", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    let answer = ask(&composed, Some("ann"), "/batches", &[]).await.expect(200);
    assert_eq!(answer.header("View-Complete"), Some("false"));
    assert_eq!(super::keys_of(&answer.json()), "b1");
    assert_eq!(composed.views().await["batches"]["left_out"], 1);
}

/// RFC 9110, sections 8.8.3 and 13.1.2.
async fn an_answer_that_has_not_changed_is_304(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    let tag = |answer: &Response| answer.header("ETag").expect("a validator").to_owned();
    for target in ["/batches/b1", "/batches", "/batches?count=true"] {
        let whole = ask(&composed, Some("ann"), target, &[]).await.expect(200);
        assert_eq!(whole.header("Cache-Control"), Some("private, no-cache"), "{target}");
        assert_eq!(whole.header("Vary"), Some("Authorization, Cookie"), "{target}");
        assert_eq!(whole.header("Content-Type"), Some("application/json"), "{target}");
        let known = tag(&whole);
        for field in [known.clone(), format!("W/{known}"), format!("\"x\", {known}"), "*".to_owned()] {
            let answer = ask(&composed, Some("ann"), target, &[("If-None-Match", &field)]).await.expect(304);
            assert_eq!((answer.text(), tag(&answer)), (String::new(), known.clone()), "{target} {field}");
            assert!(answer.header("View-Offsets").is_some(), "{target}");
        }
        // Somebody else who knows it sees nothing by it.
        let other = ask(&composed, Some("bob"), target, &[("If-None-Match", &known)]).await;
        assert_ne!(other.status, 304, "{target}");

        let last = happened(&broker, "b1", "checked").await;
        folded(&composed, "/batches", &[&last]).await;
        let changed = ask(&composed, Some("ann"), target, &[("If-None-Match", &known)]).await.expect(200);
        assert_ne!(tag(&changed), known, "{target}");
        // A record that changes nothing of it changes no validator.
        let last = send(&broker, "batches", "batch.of-no-rule", "b1", &json!({})).await;
        folded(&composed, "/batches", &[&last]).await;
        ask(&composed, Some("ann"), target, &[("If-None-Match", &tag(&changed))]).await.expect(304);
    }
}

async fn max_age_is_told_to_the_clients_own_cache(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "    query: { max_age: 30s }\n").await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    for target in ["/batches/b1", "/batches"] {
        let answer = ask(&composed, Some("ann"), target, &[]).await.expect(200);
        assert_eq!(answer.header("Cache-Control"), Some("private, max-age=30"), "{target}");
    }
    let missing = ask(&composed, Some("ann"), "/batches/none", &[]).await;
    assert_eq!(missing.header("Cache-Control"), Some("no-store"));
    missing.problem(404, "no-such-row");
}
