//! The project in Rust, tested natively as its author would: with the test kit and without WebAssembly.

#[path = "../templates/rust/src/lib.rs"]
mod template;
