//! Whole numbers by their distance from what is expected; see the module above for the layout.

use super::bytes::{Packer, Reader, unzigzag, zigzag};
use crate::SegmentError;

/// How many numbers are looked at to find out how a column is told best.
const SAMPLE: usize = 4096;

const BY_GROUP: u8 = 1;
const RELATIVE: u8 = 8;

/// What a number is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expectation {
    Base,
    Before,
    Step,
}

impl Expectation {
    const ALL: [Self; 3] = [Self::Base, Self::Before, Self::Step];
}

/// Rows by group.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// The rows in that order.
    rows: Vec<u32>,
    /// Whether the row at a place is the first of its group.
    begins: Vec<bool>,
}

impl Order {
    /// The order of rows whose groups these are.
    pub(super) fn by_group(groups: &[u32]) -> Self {
        let mut rows: Vec<u32> = (0..groups.len() as u32).collect();
        rows.sort_by_key(|row| groups[*row as usize]);
        let group_at = |place: usize| groups[rows[place] as usize];
        let begins = (0..rows.len()).map(|place| place == 0 || group_at(place) != group_at(place - 1));
        let begins = begins.collect();
        Self { rows, begins }
    }
}

/// Follows a column from number to number. All of it wraps: any numbers come back.
struct Guess {
    expectation: Expectation,
    base: i64,
    last: i64,
    step: i64,
    /// What the last group began with, and its first step.
    first: i64,
    first_step: i64,
    place: usize,
}

impl Guess {
    fn new(expectation: Expectation, base: i64) -> Self {
        Self { expectation, base, last: base, step: 0, first: base, first_step: 0, place: 0 }
    }

    fn expected(&mut self, begins: bool) -> i64 {
        if begins {
            (self.place, self.step) = (0, 0);
        }
        match self.expectation {
            Expectation::Base => self.base,
            _ if self.place == 0 => self.first,
            Expectation::Before => self.last,
            Expectation::Step if self.place == 1 => self.last.wrapping_add(self.first_step),
            Expectation::Step => self.last.wrapping_add(self.step),
        }
    }

    fn learn(&mut self, value: i64) {
        match self.place {
            0 => self.first = value,
            _ => self.step = value.wrapping_sub(self.last),
        }
        if self.place == 1 {
            self.first_step = self.step;
        }
        self.last = value;
        self.place += 1;
    }
}

/// How a column is told.
#[derive(Clone, Copy)]
struct Plan {
    by_group: bool,
    expectation: Expectation,
    relative_to: Option<usize>,
}

impl Plan {
    fn flags(self) -> u8 {
        let relative = if self.relative_to.is_some() { RELATIVE } else { 0 };
        u8::from(self.by_group) | (self.expectation as u8) << 1 | relative
    }
}

fn distances(values: &[i64], plan: Plan, order: Option<&Order>, base: i64, most: usize) -> Vec<u64> {
    let mut guess = Guess::new(plan.expectation, base);
    let count = values.len().min(most);
    let order = order.filter(|_| plan.by_group);
    (0..count)
        .map(|place| {
            let (row, begins) = order.map_or((place, place == 0), |order| order_at(order, place));
            let expected = guess.expected(begins);
            guess.learn(values[row]);
            let distance = values[row].wrapping_sub(expected);
            if plan.expectation == Expectation::Base { distance as u64 } else { zigzag(distance) }
        })
        .collect()
}

fn order_at(order: &Order, place: usize) -> (usize, bool) {
    (order.rows[place] as usize, order.begins[place])
}

fn base_of(values: &[i64], plan: Plan, order: Option<&Order>) -> i64 {
    match (plan.expectation, order.filter(|_| plan.by_group)) {
        (Expectation::Base, _) => values.iter().copied().min().unwrap_or_default(),
        (_, Some(order)) => values[order.rows[0] as usize],
        (_, None) => values[0],
    }
}

fn width(distances: &[u64]) -> usize {
    let most = distances.iter().fold(0, |all, distance| all | distance);
    8 - most.leading_zeros() as usize / 8
}

/// About how many bits these distances take, byte by byte of the same weight: their entropy.
fn bits(distances: &[u64]) -> f64 {
    let mut all = 0.0;
    for byte in 0..width(distances) {
        let mut counts = [0_u32; 256];
        distances.iter().for_each(|distance| counts[usize::from((distance >> (8 * byte)) as u8)] += 1);
        let total = distances.len() as f64;
        let each = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count));
        // A block has a frame around it.
        all += 128.0 + each.map(|count| count * (total / count).log2()).sum::<f64>();
    }
    all
}

fn relative(values: &[i64], base: &[i64]) -> Vec<i64> {
    values.iter().zip(base).map(|(value, base)| value.wrapping_sub(*base)).collect()
}

/// The plan with which a column takes the fewest bits, as far as a sample tells.
fn best(values: &[i64], order: Option<&Order>, bases: &[Option<Vec<i64>>]) -> Plan {
    let mut best =
        (f64::INFINITY, Plan { by_group: false, expectation: Expectation::Base, relative_to: None });
    let others = bases.iter().enumerate().filter_map(|(index, base)| Some((index, base.as_ref()?)));
    let choices = std::iter::once(None).chain(others.map(Some));
    for choice in choices {
        let relative = choice.map(|(_, base)| relative(values, base));
        let values = relative.as_deref().unwrap_or(values);
        for by_group in [false, true] {
            if by_group && order.is_none() {
                continue;
            }
            for expectation in Expectation::ALL {
                let plan = Plan { by_group, expectation, relative_to: choice.map(|(index, _)| index) };
                let base = base_of(values, plan, order);
                let cost = bits(&distances(values, plan, order, base, SAMPLE));
                if cost < best.0 {
                    best = (cost, plan);
                }
                if cost == 0.0 {
                    return plan;
                }
            }
        }
    }
    best.1
}

/// Writes numbers, at least one. `bases` are earlier columns that they may be told relative to.
pub(super) fn encode(
    packer: &mut Packer,
    values: &[i64],
    order: Option<&Order>,
    bases: &[Option<Vec<i64>>],
) -> Result<(), SegmentError> {
    let plan = best(values, order, bases);
    packer.u8(plan.flags());
    let base = plan.relative_to.and_then(|index| bases[index].as_ref());
    let relative = base.map(|base| relative(values, base));
    if let Some(index) = plan.relative_to {
        packer.varint(index as u64);
    }
    let values = relative.as_deref().unwrap_or(values);
    let base = base_of(values, plan, order);
    let distances = distances(values, plan, order, base, usize::MAX);
    let width = width(&distances);
    packer.varint(zigzag(base));
    packer.u8(width as u8);
    for byte in 0..width {
        let plane: Vec<u8> = distances.iter().map(|distance| (distance >> (8 * byte)) as u8).collect();
        packer.block(&plane)?;
    }
    Ok(())
}

/// Reads so many numbers.
pub(super) fn decode(
    reader: &mut Reader,
    count: usize,
    order: Option<&Order>,
    bases: &[Option<Vec<i64>>],
) -> Result<Vec<i64>, SegmentError> {
    const ODD: SegmentError = SegmentError::Damaged("a column is told in no way that is known");
    if count == 0 {
        return Ok(Vec::new());
    }
    let flags = reader.u8()?;
    let expectation = *Expectation::ALL.get(usize::from(flags >> 1 & 3)).ok_or(ODD)?;
    let order = if flags & BY_GROUP == 0 { None } else { Some(order.ok_or(ODD)?) };
    let base_column = match flags & RELATIVE {
        0 => None,
        _ => Some(bases.get(reader.count()?).and_then(Option::as_ref).ok_or(ODD)?),
    };
    if flags > (RELATIVE | 7) {
        return Err(ODD);
    }
    let base = unzigzag(reader.varint()?);
    let distances = read_distances(reader, count)?;
    let mut guess = Guess::new(expectation, base);
    let mut values = vec![0; count];
    for (place, distance) in distances.into_iter().enumerate() {
        let (row, begins) = order.map_or((place, place == 0), |order| order_at(order, place));
        let distance = if expectation == Expectation::Base { distance as i64 } else { unzigzag(distance) };
        let value = guess.expected(begins).wrapping_add(distance);
        guess.learn(value);
        values[row] = value;
    }
    if let Some(base) = base_column {
        values.iter_mut().zip(base).for_each(|(value, base)| *value = value.wrapping_add(*base));
    }
    Ok(values)
}

fn read_distances(reader: &mut Reader, count: usize) -> Result<Vec<u64>, SegmentError> {
    let width = reader.u8()?;
    if width > 8 {
        return Err(SegmentError::Damaged("a number has more than eight bytes"));
    }
    let mut distances = vec![0_u64; count];
    for byte in 0..width {
        let plane = reader.block(count)?;
        distances.iter_mut().zip(plane).for_each(|(all, part)| *all |= u64::from(part) << (8 * byte));
    }
    Ok(distances)
}
