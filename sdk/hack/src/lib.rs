//! The features that all crates share; it holds no code. `.config/hakari.toml` says how it is made.
