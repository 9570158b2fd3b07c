//! Amounts: integers, each a type of its own with its unit in its name.

use core::fmt;
use core::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use serde::{Deserialize, Serialize};

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident($inner:ty), $unit:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// None of it.
            pub const ZERO: Self = Self(0);
            /// The largest amount that can be written.
            pub const MAX: Self = Self(<$inner>::MAX);
        }

        // Sums saturate: an amount at the end of its range is refused as implausible long before it could
        // wrap round and look small.
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(self.0.saturating_neg())
            }
        }
        impl core::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::ZERO, Add::add)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{} ", $unit), self.0)
            }
        }
    };
}

amount!(
    /// A current in thousandths of an ampere; export is negative.
    Milliamps(i32),
    "mA"
);
amount!(
    /// A voltage in thousandths of a volt.
    Millivolts(i32),
    "mV"
);
amount!(
    /// A power in watts; export is negative.
    Watts(i32),
    "W"
);
amount!(
    /// An energy in watt-hours.
    WattHours(i64),
    "Wh"
);
amount!(
    /// A moment: microseconds since 1970-01-01T00:00:00 UTC. Also the difference of two moments.
    Micros(i64),
    "us"
);
amount!(
    /// A length of time in milliseconds.
    Millis(i64),
    "ms"
);

impl Milliamps {
    /// Whole amperes.
    pub const fn from_amps(amps: i32) -> Self {
        Self(amps.saturating_mul(1000))
    }

    /// The largest multiple of `step` that isn't above this current; a step of zero or less leaves it.
    pub fn floor_to(self, step: Self) -> Self {
        if step.0 <= 0 { self } else { Self(self.0.saturating_sub(self.0.rem_euclid(step.0))) }
    }
}

impl Micros {
    /// Milliseconds since 1970 as a moment.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Whole seconds since 1970 as a moment.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }
}

impl From<Millis> for Micros {
    fn from(length: Millis) -> Self {
        Self::from_millis(length.0)
    }
}

/// One conductor of a three-phase supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// The first.
    L1,
    /// The second.
    L2,
    /// The third.
    L3,
}

impl Phase {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::L1, Self::L2, Self::L3];

    /// Where this phase stands in a [`PerPhase`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A value on each of the three phases, in the order L1, L2, L3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PerPhase<T>(pub [T; 3]);

impl<T: Copy> PerPhase<T> {
    /// The same value on every phase.
    pub const fn all(value: T) -> Self {
        Self([value; 3])
    }

    /// Applies `f` to each phase's value.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> PerPhase<U> {
        PerPhase(self.0.map(f))
    }

    /// Joins two values phase by phase.
    pub fn zip<U: Copy, V>(self, other: PerPhase<U>, mut f: impl FnMut(T, U) -> V) -> PerPhase<V> {
        PerPhase(core::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl<T> core::ops::Index<Phase> for PerPhase<T> {
    type Output = T;
    fn index(&self, phase: Phase) -> &T {
        &self.0[phase.index()]
    }
}

impl<T> core::ops::IndexMut<Phase> for PerPhase<T> {
    fn index_mut(&mut self, phase: Phase) -> &mut T {
        &mut self.0[phase.index()]
    }
}

impl<T: Copy + Add<Output = T>> Add for PerPhase<T> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.zip(other, Add::add)
    }
}

impl<T: Copy + Sub<Output = T>> Sub for PerPhase<T> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.zip(other, Sub::sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stop_at_the_end_of_the_range() {
        assert_eq!(Milliamps::MAX + Milliamps(1), Milliamps::MAX);
        assert_eq!(-WattHours(i64::MIN), WattHours::MAX);
    }

    #[test]
    fn a_current_is_floored_to_its_step_even_below_zero() {
        let step = Milliamps(1000);
        assert_eq!(Milliamps(26_800).floor_to(step), Milliamps(26_000));
        assert_eq!(Milliamps(-200).floor_to(step), Milliamps(-1000));
        assert_eq!(Milliamps(123).floor_to(Milliamps(0)), Milliamps(123));
        assert_eq!(Milliamps(i32::MIN).floor_to(step), Milliamps(i32::MIN));
    }

    #[test]
    fn phases_are_written_as_a_list_of_three() {
        let text =
            serde_json::to_string(&PerPhase([Milliamps(1), Milliamps(2), Milliamps(3)])).expect("plain");
        assert_eq!(text, "[1,2,3]");
    }
}
