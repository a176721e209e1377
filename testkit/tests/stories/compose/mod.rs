//! Composed answers. Every story is told twice: with the aggregator inside the edge, and with one of its own behind it.

mod answers;
