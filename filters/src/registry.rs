//! The one visible list of filters. A filter that is not ours is added with [`Registry::with`].

use std::sync::Arc;

use sallyport_config::Node;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::build::Build;
use crate::filter::Filter;

type BuildFn = dyn Fn(&Node, &mut Build<'_>) -> Option<Arc<dyn Filter>> + Send + Sync;

/// A kind of filter: its name in `routes.yaml`, its configuration, and how it is built.
pub struct Kind {
    /// The name in `routes.yaml`.
    pub name: &'static str,
    /// The JSON Schema of its configuration.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    build: Box<BuildFn>,
}

impl Kind {
    /// A kind from the type of its configuration and a function that builds it. The function reports what it
    /// refuses and then answers `None`.
    pub fn new<C: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        build: fn(C, &mut Build<'_>) -> Option<Arc<dyn Filter>>,
    ) -> Self {
        Kind {
            name,
            schema: |generator| generator.subschema_for::<C>(),
            build: Box::new(move |node, context| {
                let config = node.decode::<C>(context.report)?;
                build(config, context)
            }),
        }
    }

    /// Builds a filter from what the operator wrote.
    pub fn build(&self, node: &Node, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
        (self.build)(node, context)
    }
}

/// The filters an edge knows.
pub struct Registry {
    kinds: Vec<Kind>,
}

impl Registry {
    /// The filters of this crate.
    pub fn standard() -> Self {
        Registry {
            kinds: vec![
                Kind::new("request_id", crate::request_id::build),
                Kind::new("ip_allow", crate::ip_allow::build),
                Kind::new("cors", crate::cors::build),
                Kind::new("security_headers", crate::security_headers::build),
                Kind::new("jwt", crate::jwt::build),
                Kind::new("api_key", crate::api_key::build),
                Kind::new("rate_limit", crate::rate_limit::build),
                Kind::new("concurrency_limit", crate::concurrency_limit::build),
                Kind::new("body_limit", crate::body_limit::build),
                Kind::new("headers", crate::headers::build),
                Kind::new("rewrite", crate::rewrite::build),
            ],
        }
    }

    /// Adds a filter of one's own. A kind of the same name is replaced.
    pub fn with(mut self, kind: Kind) -> Self {
        self.kinds.retain(|known| known.name != kind.name);
        self.kinds.push(kind);
        self
    }

    /// The kind of this name.
    pub fn find(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// Every kind, in the order of documentation.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter()
    }
}
