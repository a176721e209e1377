//! The few forms of Markdown that the texts of scenarios use, as HTML: paragraphs, lists, code, strong text and
//! links. All else stays as it is written.

use std::iter::Peekable;
use std::str::Lines;

use super::escape::markup;

/// Markdown as HTML.
pub(super) fn html(markdown: &str) -> String {
    let mut lines = markdown.lines().peekable();
    let mut html = String::new();
    while let Some(line) = lines.peek() {
        if line.trim().is_empty() {
            lines.next();
        } else if item(line).is_some() {
            html += "<ul>\n";
            while let Some(first) = lines.peek().and_then(|line| item(line)) {
                lines.next();
                html += &format!("<li>{}</li>\n", spans(&block(first, &mut lines)));
            }
            html += "</ul>\n";
        } else {
            html += &format!("<p>{}</p>\n", spans(&block("", &mut lines)));
        }
    }
    html
}

/// The lines of one paragraph or item, as one.
fn block(first: &str, lines: &mut Peekable<Lines>) -> String {
    let mut text = first.trim().to_owned();
    while let Some(line) = lines.next_if(|line| !line.trim().is_empty() && item(line).is_none()) {
        if !text.is_empty() {
            text.push(' ');
        }
        text += line.trim();
    }
    text
}

fn item(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("- ").or_else(|| line.strip_prefix("* "))
}

fn spans(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        html += &markup(&rest[..at]);
        rest = &rest[at..];
        let (span, behind) =
            code(rest).or_else(|| strong(rest)).or_else(|| link(rest)).unwrap_or_else(|| {
                let (sign, behind) = rest.split_at(1);
                (sign.to_owned(), behind)
            });
        html += &span;
        rest = behind;
    }
    html + &markup(rest)
}

fn code(text: &str) -> Option<(String, &str)> {
    let (code, behind) = text.strip_prefix('`')?.split_once('`')?;
    Some((format!("<code>{}</code>", markup(code)), behind))
}

fn strong(text: &str) -> Option<(String, &str)> {
    let (strong, behind) = text.strip_prefix("**")?.split_once("**")?;
    Some((format!("<strong>{}</strong>", spans(strong)), behind))
}

/// Only to the web: no scheme that does something in the page.
fn link(text: &str) -> Option<(String, &str)> {
    let (label, behind) = text.strip_prefix('[')?.split_once("](")?;
    let (target, behind) = behind.split_once(')')?;
    let is_web = target.starts_with("https://") || target.starts_with("http://");
    is_web.then(|| (format!("<a href=\"{}\">{}</a>", markup(target), markup(label)), behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_in_use_are_shown() {
        let text = "One `a<b` and **two `c`**,\nsee [x&y](https://example.org/?a=1&b).\n\n- first\n  goes on\n- second\n\nend";
        assert_eq!(
            html(text),
            "<p>One <code>a&lt;b</code> and <strong>two <code>c</code></strong>, see \
             <a href=\"https://example.org/?a=1&amp;b\">x&amp;y</a>.</p>\n\
             <ul>\n<li>first goes on</li>\n<li>second</li>\n</ul>\n<p>end</p>\n"
        );
    }

    #[test]
    fn all_else_stays_text() {
        let text = "2 * 3 `open **too [a](javascript:x) <script>";
        assert_eq!(html(text), "<p>2 * 3 `open **too [a](javascript:x) &lt;script&gt;</p>\n");
        assert_eq!(html("\n\n"), "");
    }
}
