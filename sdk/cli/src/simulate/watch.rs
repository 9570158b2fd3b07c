//! Whether the limit is kept, told from outside the edge: from the setpoints on the wire and from what vehicles draw.
//!
//! A **breach** is a moment from which on, on a phase of a circuit, either what is drawn or what *may* be drawn is above
//! the breaker's limit. What a charger may draw is the highest of: any setpoint sent to it that is not expired and that
//! it has not superseded or refused by a confirmation that has arrived; what it draws; its safe current. It is
//! looked at with every change. Other load counts as the least that it was in the last [`Watch::new`]'s `excuse_ms`: an excess
//! that its rise causes is none for so long.

use std::collections::VecDeque;

use wattle_edge_core::SiteModel;
use wattle_wire::message::{Confirm, Setpoint};
use wattle_wire::{Milliamps, PerPhase, Phase};

struct Sent {
    number: u64,
    limit: Milliamps,
    expires_ms: u64,
}

struct Outlet {
    path: Vec<usize>,
    /// Those that its vehicle loads.
    phases: Vec<Phase>,
    safe: Milliamps,
    draw: Milliamps,
    sent: Vec<Sent>,
}

#[derive(Default)]
struct Breaker {
    limit: PerPhase<Milliamps>,
    is_over: PerPhase<bool>,
    load: PerPhase<Milliamps>,
    /// What the load was, and until when that counts.
    loads: VecDeque<(u64, PerPhase<Milliamps>)>,
}

/// The observer.
pub struct Watch {
    outlets: Vec<Outlet>,
    breakers: Vec<Breaker>,
    peak: PerPhase<Milliamps>,
    breaches: u64,
    excuse_ms: u64,
}

impl Watch {
    /// An observer of a site in which nothing flows; `phases` is the first phase that each charger's vehicles load.
    pub fn new(model: &SiteModel, phases: &[Phase], excuse_ms: u64) -> Self {
        let path =
            |circuit| std::iter::successors(Some(circuit), |at: &usize| model.circuits[*at].parent).collect();
        let outlets = model.chargers.iter().zip(phases).map(|(charger, phase)| Outlet {
            path: path(charger.circuit),
            phases: vec![*phase],
            safe: charger.safe_ma,
            draw: Milliamps::ZERO,
            sent: Vec::new(),
        });
        let breakers =
            model.circuits.iter().map(|circuit| Breaker { limit: circuit.limit_ma, ..Breaker::default() });
        Self {
            outlets: outlets.collect(),
            breakers: breakers.collect(),
            peak: PerPhase::default(),
            breaches: 0,
            excuse_ms,
        }
    }

    /// A vehicle comes that loads these phases.
    pub fn comes(&mut self, charger: usize, phases: Vec<Phase>) {
        self.outlets[charger].phases = phases;
    }

    /// Other consumers draw otherwise than before.
    pub fn load(&mut self, circuit: usize, load: PerPhase<Milliamps>, at_ms: u64) {
        let breaker = &mut self.breakers[circuit];
        breaker.loads.push_back((at_ms.saturating_add(self.excuse_ms), breaker.load));
        breaker.load = load;
    }

    /// A setpoint leaves the edge.
    pub fn sent(&mut self, charger: usize, setpoint: &Setpoint, at_ms: u64) {
        let validity = setpoint.validity_ms.0.max(0).unsigned_abs();
        let sent = Sent {
            number: setpoint.number,
            limit: setpoint.limit_ma,
            expires_ms: at_ms.saturating_add(validity),
        };
        self.outlets[charger].sent.push(sent);
    }

    /// The answer to a setpoint reaches the edge.
    pub fn answered(&mut self, charger: usize, confirm: &Confirm) {
        let sent = &mut self.outlets[charger].sent;
        match confirm.refused {
            None => sent.retain(|sent| sent.number >= confirm.setpoint),
            Some(_) => sent.retain(|sent| sent.number != confirm.setpoint),
        }
    }

    /// A vehicle draws otherwise than before.
    pub fn draws(&mut self, charger: usize, draw: Milliamps) {
        self.outlets[charger].draw = draw;
    }

    /// What flows through a circuit.
    pub fn flow(&self, circuit: usize) -> PerPhase<Milliamps> {
        let mut flow = self.breakers[circuit].load;
        for outlet in self.outlets.iter().filter(|outlet| outlet.path.contains(&circuit)) {
            for phase in &outlet.phases {
                flow[*phase] += outlet.draw;
            }
        }
        flow
    }

    /// Looks at every circuit as it is now.
    pub fn look(&mut self, at_ms: u64) {
        let mut may = vec![PerPhase::all(Milliamps::ZERO); self.breakers.len()];
        let mut drawn = PerPhase::all(Milliamps::ZERO);
        for outlet in &mut self.outlets {
            outlet.sent.retain(|sent| sent.expires_ms > at_ms);
            let told = outlet.sent.iter().map(|sent| sent.limit).fold(outlet.safe, Milliamps::max);
            for phase in &outlet.phases {
                drawn[*phase] += outlet.draw;
                for circuit in &outlet.path {
                    may[*circuit][*phase] += told.max(outlet.draw);
                }
            }
        }
        self.peak = self.peak.zip(drawn, Milliamps::max);
        for (breaker, may) in self.breakers.iter_mut().zip(may) {
            breaker.loads.retain(|(until_ms, _)| *until_ms > at_ms);
            let least =
                breaker.loads.iter().fold(breaker.load, |least, (_, load)| least.zip(*load, Milliamps::min));
            for phase in Phase::ALL {
                let load = least[phase].max(Milliamps::ZERO);
                // What others draw beyond the limit by themselves is no charger's doing.
                let is_over = may[phase] > Milliamps::ZERO && may[phase] + load > breaker.limit[phase];
                self.breaches += u64::from(is_over && !breaker.is_over[phase]);
                breaker.is_over[phase] = is_over;
            }
        }
    }

    /// How often a limit was passed.
    pub fn breaches(&self) -> u64 {
        self.breaches
    }

    /// The most that flowed through the grid connection on each phase.
    pub fn peak(&self) -> PerPhase<Milliamps> {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_edge_core::{Charger, Circuit, Control};
    use wattle_wire::Millis;
    use wattle_wire::message::Refusal;

    fn amps(amps: i32) -> Milliamps {
        Milliamps::from_amps(amps)
    }

    /// Two chargers on L1 of a board of 32 A below a connection of 100 A.
    fn watch() -> Watch {
        let circuit = |id: &str, parent, limit| Circuit {
            id: id.parse().expect("name"),
            parent,
            limit_ma: PerPhase::all(amps(limit)),
            margin_ma: amps(0),
            fallback_ma: amps(0),
            generation: false,
            schedule: vec![],
        };
        let charger = |id: &str| Charger::new(id.parse().expect("name"), 1);
        let model = SiteModel {
            id: "s".parse().expect("name"),
            control: Control::default(),
            circuits: vec![circuit("grid", None, 100), circuit("board", Some(0), 32)],
            meters: vec![],
            chargers: vec![charger("a"), charger("b")],
            users: vec![],
            systems: vec![],
            local_time: Default::default(),
        };
        Watch::new(&model, &[Phase::L1, Phase::L1], 1_000)
    }

    fn setpoint(number: u64, limit: i32) -> Setpoint {
        Setpoint { number, limit_ma: amps(limit), validity_ms: Millis(1000), seen: None }
    }

    #[test]
    fn a_raise_before_the_reduction_is_confirmed_is_a_breach_though_nothing_flows() {
        let mut watch = watch();
        watch.sent(0, &setpoint(1, 32), 0);
        watch.look(0);
        watch.sent(0, &setpoint(2, 16), 10);
        watch.look(10);
        assert_eq!(watch.breaches(), 0);
        watch.sent(1, &setpoint(3, 16), 20);
        watch.look(20);
        assert_eq!(watch.breaches(), 1);
    }

    #[test]
    fn a_confirmed_or_expired_setpoint_makes_room_and_a_refused_one_takes_none() {
        let mut confirmed = watch();
        confirmed.sent(0, &setpoint(1, 32), 0);
        confirmed.sent(0, &setpoint(2, 16), 10);
        confirmed.answered(0, &Confirm { boot: None, setpoint: 2, refused: None });
        confirmed.sent(1, &setpoint(3, 16), 20);
        confirmed.look(20);
        assert_eq!(confirmed.breaches(), 0);
        confirmed.sent(1, &setpoint(4, 32), 30);
        confirmed.answered(1, &Confirm { boot: None, setpoint: 4, refused: Some(Refusal::Expired) });
        confirmed.look(30);
        assert_eq!(confirmed.breaches(), 0);
        confirmed.sent(1, &setpoint(5, 32), 1500);
        confirmed.look(1500);
        assert_eq!(confirmed.breaches(), 0, "the others have expired");
    }

    #[test]
    fn a_rise_of_the_other_load_is_excused_for_a_time_and_its_fall_at_once() {
        let mut watch = watch();
        watch.sent(0, &setpoint(1, 20), 0);
        let load = |load| PerPhase([amps(load), amps(0), amps(0)]);
        for (at_ms, now, breaches) in [(0, 12, 0), (10, 13, 0), (20, 0, 0), (30, 13, 0)] {
            watch.load(1, load(now), at_ms);
            watch.look(at_ms);
            assert_eq!(watch.breaches(), breaches, "{now} A at {at_ms} ms");
        }
        watch.sent(0, &Setpoint { validity_ms: Millis(10_000), ..setpoint(2, 20) }, 40);
        watch.look(1_029);
        assert_eq!(watch.breaches(), 0, "what it was at 20 ms still counts");
        watch.look(1_031);
        assert_eq!(watch.breaches(), 1);
        assert_eq!(watch.flow(1), load(13));
    }

    #[test]
    fn a_vehicle_of_three_phases_counts_on_each() {
        let mut watch = watch();
        watch.comes(0, Phase::ALL.to_vec());
        watch.draws(0, amps(33));
        watch.look(0);
        assert_eq!((watch.breaches(), watch.flow(1)), (3, PerPhase::all(amps(33))));
    }

    #[test]
    fn what_flows_counts_whatever_was_told_and_each_passing_of_a_limit_once() {
        let mut watch = watch();
        for (draw, breaches) in [(32, 0), (33, 1), (40, 1), (32, 1), (33, 2)] {
            watch.draws(0, amps(draw));
            watch.look(0);
            assert_eq!(watch.breaches(), breaches, "{draw} A");
        }
        assert_eq!(
            (watch.peak(), watch.flow(1)),
            (PerPhase([40, 0, 0].map(amps)), PerPhase([33, 0, 0].map(amps)))
        );
    }
}
