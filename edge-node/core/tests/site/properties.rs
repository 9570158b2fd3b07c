//! Promise 1 on random sites. The rig looks at every phase of every circuit at every step.

use proptest::prelude::*;
use wattle_rig::Rig;
use wattle_rig::cases::{case, random};
use wattle_rig::parts::{self, amps};
use wattle_wire::Milliamps;
use wattle_wire::policy::{Allocation, Plan};

proptest! {
    #![proptest_config(random(8))]

    #[test]
    fn whatever_happens_no_phase_of_any_circuit_passes_its_limit(case in case()) {
        case.play();
    }
}

#[test]
fn a_plan_of_a_million_entries_is_read_and_only_the_first_for_a_charger_counts() {
    let mut rig = Rig::new(parts::model(30.0, &["cp-1", "cp-2"]));
    rig.policy = Box::new(|_| {
        let entry = |i: u32| Allocation {
            charger: i % 3,
            limit_ma: if i < 2 { amps(10.0) } else { Milliamps::MAX },
            reason: String::new(),
        };
        Ok(Plan { allocations: (0..1_000_000).map(entry).collect(), state: Vec::new() })
    });
    rig.set_home(5.0);
    rig.ask(&[0, 1]);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [10, 10]);
}
