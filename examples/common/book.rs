//! Compiles the Rust in the book.

#[doc = include_str!("../../docs/downloads.md")]
struct Downloads;
