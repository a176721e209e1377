//! What is refused at load.

use super::*;

fn report(settings: &str) -> String {
    let more = "issuer: https://id.example/\naudiences: [a]\njwks: { file: k }";
    let issuers: Issuers =
        [issuer("main", more).unwrap(), issuer("twin", more).unwrap()].into_iter().collect();
    let yaml = format!("- jwt: {{ {settings} }}");
    match Probe::from_yaml(&registry(), &issuers, &yaml) {
        Ok(_) => panic!("accepted: {settings}"),
        Err(report) => report,
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_place() {
    for (settings, expected) in [
        ("optional: true", "names no issuer"),
        ("issuer: main, issuers: [main]", "both `issuer` and `issuers`"),
        ("issuer: mian", "did you mean `main`?"),
        ("issuer: nothing_like_it", "define it under `issuers`"),
        ("issuers: [main, twin]", "the same `iss` as `main`"),
        ("issuers: [main, main]", "the same `iss` as `main`"),
        ("issuer: main, from: []", "names no place"),
        ("issuer: main, from: [header, header]", "in the list already"),
        ("issuer: main, from: [{ cookie: \"a b\" }]", "not the name of a cookie"),
        ("issuer: main, from: [{ query: \"\" }]", "needs a name"),
        ("issuer: main, from: [body]", "body"),
        ("issuer: main, token_limit: 1MiB", "not between 1B and 64KiB"),
        ("issuer: main, token_limit: 0", "not between 1B and 64KiB"),
        ("issuer: main, cache: 1000001", "larger than"),
        ("issuer: main, scopes: [\"a b\"]", "is not a scope"),
        ("issuer: main, scopes: [\"\"]", "is not a scope"),
        ("issuer: main, scopes: ['a\"b']", "is not a scope"),
        ("issuer: main, roles: { claim: r }", "either `any` or `all`"),
        ("issuer: main, roles: { claim: r, any: [a], all: [b] }", "either `any` or `all`"),
        ("issuer: main, roles: { claim: \"\", any: [a] }", "needs a `claim`"),
        ("issuer: main, claims: { a: { any: [] } }", "lists no value"),
        ("issuer: main, claims: { a: { some: [x] } }", "some"),
        ("issuer: main, claims: { a: { any: [x], present: true } }", "either `any` or `present`"),
        ("issuer: main, claims: { a: [x] }", "`{ any: [...] }`"),
        ("issuer: main, claims: { a: { any: [[x]] } }", "a text, a number, true or false"),
        ("issuer: main, forward: { Host: sub }", "belongs to the connection"),
        ("issuer: main, forward: { Authorization: sub }", "may not be set from a claim"),
        ("issuer: main, forward: { X_User: sub }", "write `X-User`"),
        ("issuer: main, forward: { X-A: sub, x-a: sub }", "set twice"),
        ("issuer: main, forward: { X-A: \"\" }", "needs a claim"),
        ("issuer: main, realm: 'a\"b'", "not plain text"),
        ("issuer: main, realm: \"é\"", "not plain text"),
        ("issuer: main, typ: jwt", "at+jwt"),
        ("issuer: main, algorithms: [none]", "algorithms"),
    ] {
        let report = report(settings);
        assert!(report.contains(expected), "{settings}\n{report}");
        assert!(report.contains("--> probe.yaml:1:"), "{settings}\n{report}");
    }
}

#[test]
fn every_setting_can_be_written() {
    let setup = Setup::new(
        "from: [header, { cookie: sid }, { query: access_token }]\n\
         forward_token: true\n\
         optional: false\n\
         typ: any\n\
         token_limit: 4KiB\n\
         scopes: [read, \"https://api/write\"]\n\
         roles: { claim: realm_access.roles, all: [teacher] }\n\
         claims: { tenant: acme, email_verified: true, level: { any: [1, 2.5, high] }, act: { present: false } }\n\
         forward: { X-User-Id: sub }\n\
         realm: platform\n\
         cache: 100\n\
         cache_ttl: 1m",
    );
    let claims = json!({
        "scope": "https://api/write read", "realm_access": {"roles": ["teacher"]}, "tenant": "acme",
        "email_verified": true, "level": [2.5],
    });
    assert!(setup.ask(&setup.token(claims.clone())).passed());
    for (name, value) in
        [("email_verified", json!("true")), ("level", json!([3])), ("act", json!({"sub": "admin"}))]
    {
        let mut claims = claims.clone();
        claims[name] = value;
        assert_eq!(setup.ask(&setup.token(claims)).status(), 403, "{name}");
    }
}
