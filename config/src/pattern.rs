//! The small languages inside strings of a route: methods, host names and paths. What is wrong is told with the place
//! inside the string.

use crate::fault::Fault;
use crate::located::{Located, Location};

/// Names that a host may have in one route, so that one line cannot hold a thousand routes.
const HOSTS_MAX: usize = 64;

/// The longest path template, in bytes.
const PATH_BYTES_MAX: usize = 2048;

/// A match line in parts.
pub(crate) struct Line {
    pub(crate) methods: Vec<String>,
    pub(crate) hosts: Vec<Located<String>>,
    pub(crate) path: Located<String>,
}

/// Reads `METHOD[|METHOD...] [host]/path`.
pub(crate) fn line(text: &str, at: Location) -> Result<Line, Fault> {
    let place = |index: usize| at.right(text[..index].chars().count());
    let mut words = Vec::new();
    let mut index = 0;
    for word in text.split(' ') {
        if !word.is_empty() {
            words.push((index, word));
        }
        index += word.len() + 1;
    }
    let shape = "a match line is `METHOD host/path`, such as `GET api.example.com/v1/batches/{id}`";
    let (methods, (start, target)) = match words.as_slice() {
        [target] => (None, *target),
        [methods, target] => (Some(*methods), *target),
        [] => return Err(Fault::new(at, "the match line is empty").hint(shape)),
        [_, _, (third, _), ..] => {
            return Err(Fault::new(place(*third), "a match line has at most two words").hint(shape));
        }
    };
    let mut read = Vec::new();
    if let Some((start, list)) = methods {
        let mut index = start;
        for name in list.split('|') {
            read.push(method(name, place(index))?);
            index += name.len() + 1;
        }
    }
    if let Some((scheme, rest)) = target.split_once("://") {
        let hint = format!("write `{rest}`; whether it is TLS is the listener's");
        return Err(Fault::new(place(start), format!("a match line has no scheme: `{scheme}://`")).hint(hint));
    }
    let Some(slash) = target.find('/') else {
        let at = place(start);
        return Err(if methods.is_none() && method(target, at).is_ok() {
            Fault::new(at, format!("a path is missing after `{target}`")).hint(shape)
        } else {
            Fault::new(at, format!("a path is missing in `{target}`"))
                .hint(format!("for every path of the host write `{target}/{{**rest}}`"))
        });
    };
    let (names, template) = target.split_at(slash);
    let mut hosts = Vec::new();
    let mut index = start;
    for name in names.split('|').filter(|_| !names.is_empty()) {
        hosts.push(Located::new(host(name, place(index))?, place(index)));
        index += name.len() + 1;
    }
    check_hosts(&hosts, at)?;
    let template_at = place(start + slash);
    Ok(Line { methods: read, hosts, path: Located::new(path(template, template_at)?, template_at) })
}

/// A method, in upper case (RFC 9110, section 9.1: methods are case-sensitive).
pub(crate) fn method(name: &str, at: Location) -> Result<String, Fault> {
    let upper = name.to_ascii_uppercase();
    let letters = |text: &str| {
        !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
    };
    if letters(name) {
        return Ok(upper);
    }
    let fault = Fault::new(at, format!("`{name}` is not a method"));
    Err(if letters(&upper) {
        fault.hint(format!("methods are written in upper case: `{upper}`"))
    } else {
        fault.hint("several methods are joined by `|`: `GET|POST`")
    })
}

/// Refuses more hosts than one route may have, and the same one twice.
pub(crate) fn check_hosts(hosts: &[Located<String>], at: Location) -> Result<(), Fault> {
    if hosts.len() > HOSTS_MAX {
        return Err(Fault::new(at, format!("more than {HOSTS_MAX} hosts in one route")));
    }
    for (index, host) in hosts.iter().enumerate() {
        if hosts[..index].contains(host) {
            return Err(Fault::new(host.at, format!("the host `{}` stands here twice", host.value)));
        }
    }
    Ok(())
}

/// A host name in lower case: exact, `*.` and a name, or an IP address (IPv6 in brackets).
pub(crate) fn host(name: &str, at: Location) -> Result<String, Fault> {
    let lower = name.to_ascii_lowercase();
    let fault = |message: String| Fault::new(at, message);
    if let Some(address) = lower.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
        return match address {
            Some(address) => Ok(format!("[{address}]")),
            None => Err(fault(format!("`{name}` is not an IPv6 address in brackets"))),
        };
    }
    if lower.contains(':') {
        let bare = lower.split(':').next().unwrap_or_default();
        return Err(fault(format!("a host has no port here: `{name}`"))
            .hint(format!("the port is the listener's; write `{bare}`")));
    }
    let labels = lower.strip_prefix("*.").unwrap_or(&lower);
    if labels.contains('*') {
        return Err(fault(format!("`*` stands for whole names only, at the front: `{name}`"))
            .hint("`*.example.com` is every name below example.com; leave the host out for every host"));
    }
    let valid = |label: &str| {
        let edges = !label.starts_with('-') && !label.ends_with('-');
        edges
            && (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if labels.len() > 253 || !labels.split('.').all(valid) {
        let fault = fault(format!("`{name}` is not a host name"));
        return Err(if name.is_ascii() { fault } else { fault.hint("write it in ASCII, as in `xn--...`") });
    }
    Ok(lower)
}

/// A path template. Literal text is as in a canonical path: no dot segments, no empty ones, no query.
pub(crate) fn path(template: &str, at: Location) -> Result<String, Fault> {
    let place = |index: usize| at.right(template[..index].chars().count());
    if template.len() > PATH_BYTES_MAX {
        return Err(Fault::new(at, format!("a path of more than {PATH_BYTES_MAX} bytes")));
    }
    let Some(rest) = template.strip_prefix('/') else {
        return Err(Fault::new(at, format!("a path begins with `/`, found `{template}`")));
    };
    let mut names: Vec<&str> = Vec::new();
    let mut index = 1;
    let last = rest.split('/').count() - 1;
    for (number, segment) in rest.split('/').enumerate() {
        let here = place(index);
        if segment.is_empty() && number < last {
            let hint = "paths are made canonical before they are matched, `//` becomes `/`";
            return Err(Fault::new(here, "an empty segment in the path").hint(hint));
        }
        match parameter(segment, here)? {
            Some(name) => {
                if segment.starts_with("{**") && number < last {
                    let hint = "it stands for all the rest of a path";
                    return Err(Fault::new(here, format!("`{segment}` must come last")).hint(hint));
                }
                if names.contains(&name) {
                    return Err(Fault::new(here, format!("the parameter `{name}` stands here twice")));
                }
                names.push(name);
            }
            None => literal(segment, &|offset| place(index + offset))?,
        }
        index += segment.len() + 1;
    }
    Ok(template.to_owned())
}

/// The name in `{name}` or `{**name}`, if the segment is a parameter.
fn parameter(segment: &str, at: Location) -> Result<Option<&str>, Fault> {
    if !segment.contains(['{', '}']) {
        return Ok(None);
    }
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some(inner) = inner.filter(|inner| !inner.contains(['{', '}'])) else {
        return Err(Fault::new(at, format!("`{segment}`: a parameter fills a whole segment"))
            .hint("write `/{name}/`, or use `path_regex`"));
    };
    let name = inner.strip_prefix("**").unwrap_or(inner);
    let valid = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if valid {
        return Ok(Some(name));
    }
    Err(Fault::new(at, format!("`{segment}` is not a parameter"))
        .hint("`{name}` is one segment, `{**name}` all the rest; names are letters, digits and `_`"))
}

/// Checks a literal segment (RFC 3986, section 3.3: `pchar`).
fn literal(segment: &str, place: &dyn Fn(usize) -> Location) -> Result<(), Fault> {
    if segment == "." || segment == ".." {
        let hint = "paths are made canonical before they are matched";
        return Err(Fault::new(place(0), format!("`{segment}` in a path can never match")).hint(hint));
    }
    // A path may have such a segment; a route that is meant to is rarer than one that was written for another gateway.
    if let Some(name) = segment.strip_prefix(':') {
        let hint = format!("write `{{{name}}}`; for a colon that is meant use `path_regex`");
        return Err(Fault::new(place(0), format!("`{segment}` is no parameter here")).hint(hint));
    }
    for (offset, c) in segment.char_indices() {
        let fault = |message: &str| Fault::new(place(offset), message);
        match c {
            '?' => return Err(fault("a path has no query").hint("conditions on the query go to `query:`")),
            '#' => return Err(fault("a path has no fragment")),
            '*' => {
                let hint = "`{name}` is one segment, `{**name}` all the rest";
                return Err(fault("`*` means nothing in a path").hint(hint));
            }
            '%' => {
                let digits = segment.get(offset + 1..offset + 3).unwrap_or_default();
                if digits.len() < 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(fault("`%` must be followed by two hexadecimal digits"));
                }
            }
            c if c.is_ascii_alphanumeric() || "-._~!$&'()+,;=:@".contains(c) => {}
            c => {
                let encoded: String =
                    c.encode_utf8(&mut [0; 4]).bytes().map(|b| format!("%{b:02X}")).collect();
                let message = format!("`{}` must be percent-encoded in a path", c.escape_default());
                return Err(fault(&message).hint(format!("write `{encoded}`")));
            }
        }
    }
    Ok(())
}

/// Checks `host:port`, IPv6 in brackets, and writes it in its canonical form.
pub(crate) fn address(text: &str, at: Location) -> Result<String, Fault> {
    let fault = |message: String| Fault::new(at, message);
    let shape = "write `host:port`, `127.0.0.1:8080` or `[::1]:8080`";
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        let fault =
            fault(format!("a target is an address, not a URL: `{text}`")).hint(format!("write `{rest}`"));
        return Err(if scheme == "https" { fault.hint("and `tls: {}` beside `targets`") } else { fault });
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(fault(format!("an IPv6 address stands in brackets: `{text}`")).hint(shape));
    }
    let Some((name, port)) = text.rsplit_once(':').filter(|(name, _)| !name.is_empty()) else {
        return Err(fault(format!("a port is missing in `{text}`")).hint(shape));
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let number = port.parse::<u16>().ok().filter(|number| digits && *number > 0);
    let Some(number) = number else {
        return Err(fault(format!("`{port}` is not a port, 1 to 65535")).hint(shape));
    };
    if name.contains('*') {
        return Err(fault(format!("`{text}` is not a target")).hint("a target is one host"));
    }
    if name.contains(':') && !name.starts_with('[') {
        return Err(fault(format!("`{text}` is not a target")).hint(shape));
    }
    Ok(format!("{}:{number}", host(name, at)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Location = Location { file: 0, line: 1, column: 1 };

    fn column(text: &str) -> u32 {
        line(text, AT).err().map_or(0, |fault| fault.at.column)
    }

    #[test]
    fn a_line_in_parts() {
        let read =
            line("GET|POST  API.example.com|*.b.c/v1/{id}/{**rest}", AT).unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!(read.methods, ["GET", "POST"]);
        assert_eq!(read.hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>(), ["api.example.com", "*.b.c"]);
        assert_eq!((read.path.as_str(), read.path.at.column), ("/v1/{id}/{**rest}", 32));
        let read = line("/", AT).unwrap_or_else(|f| panic!("{f:?}"));
        assert!(read.methods.is_empty() && read.hosts.is_empty());
    }

    #[test]
    fn errors_stand_at_their_place() {
        assert_eq!(column("get /x"), 1);
        assert_eq!(column("GET|pst /x"), 5);
        assert_eq!(column("GET a.b:80/x"), 5);
        assert_eq!(column("GET a.b/x/{id"), 11);
        assert_eq!(column("GET a.b/{**all}/x"), 9);
        assert_eq!(column("GET a.b/{id}/{id}"), 14);
        assert_eq!(column("GET a.b/a b"), 11);
        assert_eq!(column("GET /a?b"), 7);
        assert_eq!(column("GET /a//b"), 8);
        assert_eq!(column("GET /a/../b"), 8);
        assert_eq!(column("GET a..b/"), 5);
        assert_eq!(column("GET a.*.b/"), 5);
        assert_eq!(column("GET"), 1);
        assert_eq!(column("a.example.com"), 1);
        assert_eq!(column("GET /a/%2"), 8);
        assert_eq!(column("GET /ä"), 6);
    }

    #[test]
    fn addresses() {
        let ok = |text: &str| address(text, AT).ok();
        assert_eq!(ok("127.0.0.1:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(ok("[0:0::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(ok("Files.internal:9000").as_deref(), Some("files.internal:9000"));
        for wrong in
            ["files", "::1", "a:0", "a:65536", "a:+1", ":80", "http://a:80/", "*.a:80", "[::1]", "a b:80", ""]
        {
            assert_eq!(ok(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_within_it(text in ".{0,40}|[A-Z|]{0,5} ?[a-z.*|]{0,10}[/a-z{}*]{0,16}") {
            if let Err(fault) = line(&text, AT) {
                prop_assert!(fault.at.column as usize <= text.chars().count() + 1);
            }
            let _ = address(&text, AT);
        }
    }
}
