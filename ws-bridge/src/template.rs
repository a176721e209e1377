//! Texts with fields: `user:{claims.sub}`. For what the bridge itself fills in; records have templates of their own.

use sallyport_config::{Located, Report, nearest};
use serde_json::Value;

/// A text with fields in braces.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Field(String),
}

/// A channel with claims in its name.
#[derive(Debug, Clone)]
pub(crate) struct ClaimsTemplate(Template);

impl Template {
    /// Compiles a text with these fields. A name that ends with `.` allows every field that begins so.
    pub(crate) fn compile(text: &Located<String>, fields: &[&str], report: &mut Report) -> Option<Template> {
        let mut pieces = Vec::new();
        let mut rest = text.value.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((field, behind)) = behind.split_once('}') else {
                report.error(text.at, "a `{` without its `}`").hint("a field is written `{name}`");
                return None;
            };
            let allowed = |known: &str| {
                if known.ends_with('.') {
                    field.len() > known.len() && field.starts_with(known)
                } else {
                    field == known
                }
            };
            if !fields.iter().any(|known| allowed(known)) {
                let near = nearest(field, fields.iter().copied()).map(str::to_owned);
                let list: Vec<String> = fields.iter().map(|field| format!("`{{{field}}}`")).collect();
                let hint = near.map_or_else(
                    || format!("fields: {}", list.join(", ")),
                    |near| format!("did you mean `{{{near}}}`?"),
                );
                report.error(text.at, format!("unknown field `{{{field}}}`")).hint(hint);
                return None;
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Field(field.to_owned()));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Some(Template { pieces })
    }

    /// Fills it in; `None` if a field has no value.
    pub(crate) fn render<'a>(&'a self, value: impl Fn(&'a str) -> Option<&'a str>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.pieces {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Field(name) => value(name)?,
            });
        }
        Some(text)
    }
}

impl ClaimsTemplate {
    pub(crate) fn compile(text: &Located<String>, report: &mut Report) -> Option<ClaimsTemplate> {
        Template::compile(text, &["claims."], report).map(ClaimsTemplate)
    }

    /// The channel for these claims; `None` if one is missing or is no text that a channel may have.
    pub(crate) fn render(&self, claims: &Value) -> Option<String> {
        self.0.render(|field| {
            let path = field.strip_prefix("claims.")?;
            let value = path.split('.').try_fold(claims, |value, name| value.get(name))?.as_str()?;
            let fit = !value.is_empty() && !value.contains('*') && !value.chars().any(char::is_control);
            fit.then_some(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_stand_in_a_channels_name() {
        let mut report = Report::default();
        let text = Located::nowhere("user:{claims.org.id}:{claims.sub}".to_owned());
        let template = ClaimsTemplate::compile(&text, &mut report).unwrap();
        assert_eq!(template.render(&json!({"sub": "u", "org": {"id": "o"}})).as_deref(), Some("user:o:u"));
        for claims in [
            json!({"sub": "u"}),
            json!({"sub": "*", "org": {"id": "o"}}),
            json!({"sub": 1, "org": {"id": "o"}}),
        ] {
            assert_eq!(template.render(&claims), None, "{claims}");
        }
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in ["{claim.sub}", "{claims.}", "user:{claims.sub", "{}"] {
            let mut report = Report::default();
            assert!(ClaimsTemplate::compile(&Located::nowhere(text.to_owned()), &mut report).is_none());
            assert_eq!(report.errors().count(), 1, "{text}");
        }
    }
}
