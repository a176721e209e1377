//! Text of the data in HTML, SVG and Markdown: what it says is shown, never obeyed.

/// Text between tags or in quoted attributes, in HTML and SVG alike.
pub(super) fn markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            // No XML document may hold these (XML 1.0, section 2.2).
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            control if control.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Text in a line or a table cell of Markdown.
pub(super) fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // What begins or ends emphasis, code, links, cells, headings and formulas.
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(character);
            }
            control if control.is_control() => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The name of a place in a page: letters, digits, hyphens and underscores.
pub(super) fn slug(text: &str) -> String {
    let is_kept = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.chars().map(|character| if is_kept(character) { character } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_text_is_markup() {
        assert_eq!(
            markup("<b a=\"1\" c='2'>&\u{0}\u{1b}"),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;\u{fffd}\u{fffd}"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_as_it_is_written(text in proptest::arbitrary::any::<String>()) {
            let document = format!("<a b=\"{0}\">{0}</a>", markup(&text));
            let document = roxmltree::Document::parse(&document).unwrap();
            // A carriage return is a control character; XML makes spaces of line breaks in attributes.
            let shown: String = text
                .chars()
                .map(|c| match c {
                    '\n' | '\t' => c,
                    '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
                    _ if c.is_control() => char::REPLACEMENT_CHARACTER,
                    _ => c,
                })
                .collect();
            let root = document.root_element();
            proptest::prop_assert_eq!(root.text().unwrap_or_default(), &shown);
            proptest::prop_assert_eq!(root.attribute("b").unwrap(), shown.replace(['\n', '\t'], " "));
        }
    }

    #[test]
    fn nothing_in_text_is_markdown() {
        assert_eq!(markdown("a|b\n<i>*c*_d_`e`[f](g)\\"), r"a\|b &lt;i&gt;\*c\*\_d\_\`e\`\[f\](g)\\");
    }

    #[test]
    fn a_slug_is_one_word() {
        assert_eq!(slug("a b/c_d\"é"), "a-b-c_d--");
    }
}
