//! What people give a charger whatever a policy says.
//!
//! It counts as far as there is room for it on the charger's way, beside what no plan can lower and what was given by hand to those
//! who are served before; of one that doesn't answer, as far as it was told already. Nobody gives up anything for more than that.

use wattle_wire::{Milliamps, PerPhase};

use super::SiteMachine;
use super::envelope::{self, Seat};

impl SiteMachine {
    /// What each of those has, in the order of serving. That, and what no plan can lower, is taken from what is `available`.
    pub(super) fn give_by_hand(
        &self,
        seats: &[Seat],
        available: &mut [PerPhase<Milliamps>],
    ) -> Vec<(usize, Milliamps)> {
        for seat in seats.iter().filter(|seat| !seat.may_charge()) {
            envelope::take(available, seat, envelope::unavoidable(seat));
        }
        let mut all = Vec::new();
        for index in envelope::in_order(seats) {
            let (seat, Some(manual)) = (&seats[index], self.stations[index].manual) else { continue };
            if !seat.may_charge() {
                let is_kept = seat.asks && seat.held.is_none() && seat.in_force > Milliamps::ZERO;
                all.push((index, if is_kept { manual.min(seat.in_force) } else { manual }));
                continue;
            }
            let free = envelope::places(seat).map(|(circuit, phase)| available[circuit][phase]).min();
            let (whole, fits) = (envelope::whole(seat, manual), free.map(|free| envelope::left(seat, free)));
            let given = whole.min(fits.unwrap_or(whole));
            let taken = envelope::on_phases(seat, given).zip(envelope::unavoidable(seat), Milliamps::max);
            envelope::take(available, seat, taken);
            all.push((index, if given < whole { given } else { manual }));
        }
        all
    }
}
