//! The trait that a policy implements and the macro that makes it a component.

use crate::{Description, Plan, Snapshot};

/// A load policy. All of it are functions: whatever a policy wants to remember goes through its state.
///
/// ```
/// use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
///
/// /// Ten amperes for everybody.
/// struct Ten;
///
/// impl Policy for Ten {
///     fn describe() -> Description {
///         Description { name: "ten".into(), version: "1.0.0".into(), ..Description::default() }
///     }
///
///     fn validate_settings(settings: &str) -> Vec<String> {
///         settings::none(settings)
///     }
///
///     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
///         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
///         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
///         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
///     }
/// }
///
/// let snapshot = wattle_policy::kit::Site::new([20_000; 3]).asking("a").snapshot();
/// assert_eq!(Ten::decide(&snapshot, "", &[]).unwrap().allocations[0].limit, 10_000);
/// ```
pub trait Policy {
    /// Who it is, what it can't do without, and what it asks the host for.
    ///
    /// ```
    /// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
    /// # struct Ten;
    /// # impl Policy for Ten {
    /// #     fn describe() -> Description {
    /// #         Description { name: "ten".into(), ..Description::default() }
    /// #     }
    /// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
    /// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
    /// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    /// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
    /// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
    /// #     }
    /// # }
    /// assert_eq!(Ten::describe().name, "ten");
    /// ```
    fn describe() -> Description;

    /// Every fault of the settings (JSON text, empty for none), each with path, value and reason; an empty
    /// list if they are right.
    ///
    /// ```
    /// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
    /// # struct Ten;
    /// # impl Policy for Ten {
    /// #     fn describe() -> Description {
    /// #         Description { name: "ten".into(), ..Description::default() }
    /// #     }
    /// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
    /// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
    /// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    /// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
    /// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
    /// #     }
    /// # }
    /// assert!(Ten::validate_settings("{}").is_empty());
    /// assert_eq!(Ten::validate_settings(r#"{"amps":9}"#).len(), 1);
    /// ```
    fn validate_settings(settings: &str) -> Vec<String>;

    /// Proposes what each charger may draw. A charger without an allocation is on standby. `state` is what
    /// the last plan left, empty at first.
    ///
    /// # Errors
    /// A text for people. The version before this one then decides, else the last plan for a moment, else the edge
    /// node's own equal share.
    ///
    /// ```
    /// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
    /// # struct Ten;
    /// # impl Policy for Ten {
    /// #     fn describe() -> Description {
    /// #         Description { name: "ten".into(), ..Description::default() }
    /// #     }
    /// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
    /// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
    /// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    /// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
    /// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
    /// #     }
    /// # }
    /// let snapshot = wattle_policy::kit::Site::new([20_000; 3]).asking("a").snapshot();
    /// let plan = Ten::decide(&snapshot, "", &[]).unwrap();
    /// assert_eq!((plan.allocations[0].charger, plan.allocations[0].limit), (0, 10_000));
    /// ```
    fn decide(snapshot: &Snapshot, settings: &str, state: &[u8]) -> Result<Plan, String>;

    /// Takes over the state that version `from` of this policy has left. Starts anew unless implemented.
    ///
    /// # Errors
    /// A text for people; the version that left the state then stays in charge.
    ///
    /// ```
    /// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
    /// # struct Ten;
    /// # impl Policy for Ten {
    /// #     fn describe() -> Description {
    /// #         Description { name: "ten".into(), ..Description::default() }
    /// #     }
    /// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
    /// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
    /// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
    /// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
    /// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
    /// #     }
    /// # }
    /// // Not implemented: the new version starts anew.
    /// assert_eq!(Ten::migrate_state("0.9.0", vec![1, 2]), Ok(vec![]));
    /// ```
    fn migrate_state(from: &str, state: Vec<u8>) -> Result<Vec<u8>, String> {
        let (_, _) = (from, state);
        Ok(Vec::new())
    }
}

/// Makes a [`Policy`] the one that this crate exports, and stamps the interface version into the module.
///
/// Used once in a crate whose `crate-type` has `cdylib`. It does nothing where the crate is built for
/// anything but WebAssembly, so that tests run on the machine that you write on.
///
/// ```
/// # use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
/// # struct Ten;
/// # impl Policy for Ten {
/// #     fn describe() -> Description {
/// #         Description { name: "ten".into(), ..Description::default() }
/// #     }
/// #     fn validate_settings(settings: &str) -> Vec<String> { settings::none(settings) }
/// #     fn decide(snapshot: &Snapshot, _: &str, _: &[u8]) -> Result<Plan, String> {
/// #         let asking = snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks());
/// #         let ten = |(index, _)| Allocation { charger: index as u32, limit: 10_000, reason: "10 A".into() };
/// #         Ok(Plan { allocations: asking.map(ten).collect(), state: Vec::new() })
/// #     }
/// # }
/// wattle_policy::export!(Ten);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "wattle:load-policy")]
            static INTERFACE_VERSION: [u8; 1] = *b"1";

            struct Guest;

            impl $crate::bindings::Guest for Guest {
                fn describe() -> $crate::Description {
                    $crate::tell_panics();
                    <$policy as $crate::Policy>::describe()
                }

                fn validate_settings(settings: String) -> Vec<String> {
                    $crate::tell_panics();
                    <$policy as $crate::Policy>::validate_settings(&settings)
                }

                fn decide(
                    snapshot: $crate::Snapshot,
                    settings: String,
                    state: Vec<u8>,
                ) -> Result<$crate::Plan, String> {
                    $crate::tell_panics();
                    // The instance ends with this call, so nothing needs to be taken apart.
                    let snapshot = ::core::mem::ManuallyDrop::new(snapshot);
                    <$policy as $crate::Policy>::decide(&snapshot, &settings, &state)
                }

                fn migrate_state(from: String, state: Vec<u8>) -> Result<Vec<u8>, String> {
                    $crate::tell_panics();
                    <$policy as $crate::Policy>::migrate_state(&from, state)
                }
            }

    $crate::bindings::export_load_policy!(Guest with_types_in $crate::bindings);
        };
    };
}

/// Sends the text of a panic to the log before the instance traps, so that its author reads more than
/// "unreachable".
pub fn tell_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::log::warn(&panic.to_string())));
}
