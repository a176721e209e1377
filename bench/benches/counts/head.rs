//! What every request goes through before its route: the head's check and what is deleted from it.

use std::hint::black_box;
use std::net::IpAddr;

use http::HeaderName;
use pingora_http::RequestHeader;
use sallyport::head::{self, HeadLimits};
use sallyport::managed::Managed;
use sallyport::{client_address, path};
use sallyport_filters::request_id;

use crate::case::{Case, again, fresh};
use crate::material::now;

/// What a browser sends.
const HEAD: &[u8] = b"GET /v1/batches/4711?fields=name HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; \
    Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: application/json\r\nAccept-Language: en\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl\r\n\
    Origin: https://app.example.com\r\nReferer: https://app.example.com/\r\nCookie: theme=dark; lang=en\r\n\
    Connection: keep-alive\r\n\r\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        again("head: find its end", |_| || assert!(black_box(head::find_end(black_box(HEAD), 0)).is_some())),
        again("head: check", |_| {
            let limits = HeadLimits { fields: 100, allow_underscores: false };
            move || assert!(black_box(head::check(black_box(HEAD), &limits)).is_ok())
        }),
        fresh("head: delete managed headers", |_| {
            let managed = managed();
            (|| parsed(&[]), move |head: &mut RequestHeader| managed.strip(black_box(head), false))
        }),
        fresh("head: delete managed headers that are there", |_| {
            let managed = managed();
            let forged = [("X-User-Id", "mallory"), ("x_roles", "admin"), ("X-Forwarded-For", "192.0.2.7")];
            let strip = move |head: &mut RequestHeader| {
                managed.strip(black_box(head), false);
                assert!(!head.headers.contains_key("x-user-id"));
            };
            (move || parsed(&forged), strip)
        }),
        fresh("head: delete hop-by-hop headers", |_| {
            let managed = managed();
            let strip = move |head: &mut RequestHeader| {
                assert!(black_box(managed.strip_hop_by_hop(black_box(head), false)).is_ok());
            };
            (|| parsed(&[]), strip)
        }),
        again("path: canonical already", |_| {
            || assert!(black_box(path::canonical(black_box("/v1/batches/4711/essays"))).is_ok())
        }),
        again("path: made canonical", |_| {
            || assert!(black_box(path::canonical(black_box("/v1//batches/./x/../%34711/caf%C3%A9"))).is_ok())
        }),
        again("client: from X-Forwarded-For", |_| {
            let peer: IpAddr = "10.0.0.1".parse().unwrap();
            let trusted = ["10.0.0.0/8".parse().unwrap(), "192.168.0.0/16".parse().unwrap()];
            let forwarded = http::HeaderValue::from_static("198.51.100.7, 203.0.113.9, 10.1.2.3");
            move || {
                let client = client_address::client(black_box(peer), [&forwarded], &trusted);
                assert_eq!(black_box(client), IpAddr::from([203, 0, 113, 9]));
            }
        }),
        again("request id: make one", |_| || drop(black_box(request_id::id_at(black_box(now()))))),
    ]
}

fn managed() -> Managed {
    Managed::new(["x-user-id", "x-roles"].map(HeaderName::from_static))
}

/// The head as Pingora parses it, with further fields.
fn parsed(more: &[(&str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build("GET", b"/v1/batches/4711?fields=name", None).unwrap();
    let text = std::str::from_utf8(HEAD).unwrap();
    let fields = text.lines().skip(1).filter_map(|line| line.split_once(": "));
    for (name, value) in fields.chain(more.iter().copied()) {
        head.append_header(name.to_owned(), value).unwrap();
    }
    head
}
