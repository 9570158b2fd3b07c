//! Gaps as tables tell of them: `<from>..=<to>: <reason>`.
//!
//! An edge may be newer than who reads, and give a reason that is not known here. It is taken as it is told: a fog node that
//! refused it would hold up the journal for good.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use wattle_wire::Micros;
use wattle_wire::row::{Gap, GapReason};

use crate::read::ReadError;

/// The longest reason, bytes.
const MAX_REASON_BYTES: usize = 64;
/// Every reason that is known here.
const KNOWN: [GapReason; 4] = [GapReason::Budget, GapReason::Damage, GapReason::Freed, GapReason::Other];

/// A gap with the reason as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldGap {
    /// When it was made, by the edge's clock.
    pub at_us: Micros,
    /// The first entry that is missing.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// Why, as [`GapReason::as_str`] or a newer edge writes it: 1 to 64 lower-case letters, digits and `_`.
    pub reason: String,
}

impl ToldGap {
    /// A gap of a reason that is known.
    pub fn new(at_us: Micros, gap: &Gap) -> Self {
        Self { at_us, from: gap.from, to: gap.to, reason: gap.reason.as_str().to_owned() }
    }

    /// What stands in the column `detail`.
    pub(crate) fn detail(&self) -> String {
        format!("{}..={}: {}", self.from, self.to, self.reason)
    }
}

/// The gaps among the rows of a batch with the columns of [`crate::schema::events`], in their order.
///
/// # Errors
/// When a column is missing, or what is told of a gap can't be read.
pub fn told_gaps(events: &RecordBatch) -> Result<Vec<ToldGap>, ReadError> {
    let column = |name, kind: &DataType| {
        let column = events.column_by_name(name).ok_or(ReadError::Column(name))?;
        cast(column, kind).map_err(|_| ReadError::Column(name))
    };
    let (kinds, details) = (column("kind", &DataType::Utf8)?, column("detail", &DataType::Utf8)?);
    let (kinds, details) = (kinds.as_string::<i32>(), details.as_string::<i32>());
    let arrived = column("arrived_at", &crate::schema::timestamp())?;
    let arrived = arrived.as_primitive::<TimestampMicrosecondType>();
    let sequences = column("sequence", &DataType::Int64)?;
    let sequences = sequences.as_primitive::<Int64Type>();
    let is_gap = |row: &usize| kinds.is_valid(*row) && kinds.value(*row) == "gap";
    let gap = |row: usize| {
        let detail = if details.is_valid(row) { details.value(row) } else { "" };
        let (from, to, reason) = parse(detail).ok_or_else(|| ReadError::value("detail", row, detail))?;
        if sequences.is_null(row) || arrived.is_null(row) {
            return Err(ReadError::value("sequence", row, "null"));
        }
        Ok(ToldGap { at_us: Micros(arrived.value(row)), from, to, reason: reason.to_owned() })
    };
    (0..events.num_rows()).filter(is_gap).map(gap).collect()
}

/// A gap from what an event says of it. A reason that isn't known is [`GapReason::Other`].
pub(crate) fn gap(detail: &str) -> Option<Gap> {
    let (from, to, reason) = parse(detail)?;
    let known = KNOWN.into_iter().find(|one| one.as_str() == reason);
    Some(Gap { from, to, reason: known.unwrap_or(GapReason::Other) })
}

fn parse(detail: &str) -> Option<(u64, u64, &str)> {
    let (range, reason) = detail.split_once(": ")?;
    let (from, to) = range.split_once("..=")?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_reason = (1..=MAX_REASON_BYTES).contains(&reason.len()) && reason.chars().all(allowed);
    is_reason.then_some((from.parse().ok()?, to.parse().ok()?, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_a_newer_edge_is_another_and_what_is_none_is_refused() {
        let found = gap("3..=9: stolen_2").expect("a gap");
        assert_eq!((found.from, found.to, found.reason), (3, 9, GapReason::Other));
        assert_eq!(gap("3..=9: damage").expect("a gap").reason, GapReason::Damage);
        for text in ["3..=9", "3..=9: ", "3..=9: Damage!", "3-9: damage", "x..=9: damage", "3..=9: a b"] {
            assert_eq!(gap(text), None, "{text}");
        }
        assert_eq!(gap(&format!("3..=9: {}", "x".repeat(65))), None);
    }
}
