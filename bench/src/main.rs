//! The program that runs the scenarios.

fn main() {}
