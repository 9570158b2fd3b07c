//! Bills: what each session of a month costs, and who pays.
//!
//! A bill is a function of rows: the `sessions` of a site and the configurations that the site has had
//! (`events` of kind `configured`). Same rows, same bytes: nothing here reads a clock, a locale or a map in
//! random order.
//!
//! - [`rate`]: the rules, on plain values, without any input or output. Start there.
//! - [`rows`]: which rows are asked for, by SQL, and how they are read.
//! - [`text`] and [`json`]: how a bill and a receipt are written.

pub mod json;
pub mod rate;
pub mod rows;
pub mod text;
