//! The canonical form of a path: final, free of what two servers read in two ways, and the same as a slow second
//! implementation finds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport::path::{PathError, canonical};

fuzz_target!(|raw: &str| {
    let found = canonical(raw);
    if found == Err(PathError::TooLong) {
        return;
    }
    assert_eq!(found.as_ref().ok().map(|form| &*form.path), reference(raw).as_deref());
    let Ok(form) = found else { return };
    let again = canonical(&form.path).expect("a canonical path is accepted");
    assert_eq!(again, form);
    assert!(form.path.starts_with('/') && !form.path.contains("//") && !form.path.contains('\\'));
    assert!(form.path.split('/').all(|segment| segment != "." && segment != ".."));
    // What the path is put into next.
    form.path.parse::<http::uri::PathAndQuery>().expect("a canonical path is a target");
});

/// The rules one after another, on a list of segments.
fn reference(raw: &str) -> Option<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut open = true;
    for segment in raw.strip_prefix('/')?.split('/') {
        let text = decode(segment)?;
        open = matches!(&*text, "" | "." | "..");
        match &*text {
            "" | "." => {}
            ".." => drop(kept.pop()?),
            _ => kept.push(text),
        }
    }
    let climbs = |segment: &String| {
        let pieces = segment.replace("%5C", "%2F");
        pieces.contains("%2F") && pieces.split("%2F").any(|piece| piece == "..")
    };
    if kept.iter().any(climbs) {
        return None;
    }
    let end = if open && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", kept.join("/")))
}

fn decode(segment: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let digits: String = chars.by_ref().take(2).collect();
                let hex = digits.len() == 2 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
                let value = u8::from_str_radix(&digits, 16).ok().filter(|&value| hex && value != 0)?;
                match char::from(value) {
                    plain if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => text.push(plain),
                    _ => text.push_str(&format!("%{value:02X}")),
                }
            }
            '\\' | '#' | '?' => return None,
            '"' | '<' | '>' | '[' | ']' | '^' | '`' | '{' | '|' | '}' => {
                text.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c if c.is_ascii_graphic() => text.push(c),
            _ => return None,
        }
    }
    Some(text)
}
