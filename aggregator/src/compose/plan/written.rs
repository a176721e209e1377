//! Plans as they would be written: for who explains them.

use std::fmt;

use super::{Call, Vary, ViewCall};

/// `GET users/v1/users/{claims.sub}?expand=all`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.upstream.name(), self.path)?;
        for (index, parameter) in self.query.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { '?' } else { '&' }, parameter.written)?;
            if let Some(value) = &parameter.value {
                value.fmt(f)?;
            }
        }
        Ok(())
    }
}

/// `view batches`, `view batches, key {id}`, `view batches, status=open`.
impl fmt::Display for ViewCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "view {}", self.view)?;
        if let Some(key) = &self.key {
            write!(f, ", key {key}")?;
        }
        self.query.iter().try_for_each(|(name, value)| write!(f, ", {name}={value}"))
    }
}

/// `claims.sub`, `header.accept-language`, `query.page`.
impl fmt::Display for Vary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Vary::Claim(path) => write!(f, "claims.{path}"),
            Vary::Header(name) => write!(f, "header.{name}"),
            Vary::Query(name) => write!(f, "query.{name}"),
        }
    }
}
