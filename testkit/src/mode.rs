//! Where a sidecar of a story runs.

/// Where a sidecar runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Inside the edge.
    Embedded,
    /// Behind its own socket, as in a process of its own.
    Separate,
}
