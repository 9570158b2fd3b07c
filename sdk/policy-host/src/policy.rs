//! A loaded policy and its calls.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower,
};
use wattle_wire::Milliamps;
use wattle_wire::policy::{Allocation, Plan, Snapshot};

use crate::host::{Host, Inner};
use crate::run::{self, Grant, Keep};
use crate::shelf::Origin;
use crate::{Cache, Digest, Grants, Limits, LoadError, RunError, cache, check, guest};

/// The most faults of settings that are told.
const FAULTS: usize = 100;

/// A policy, compiled and ready. Cheap to clone; it may decide on any thread, on several at once.
#[derive(Clone)]
pub struct Policy {
    code: Arc<Code>,
    grant: Grant,
}

/// What all who load a component share.
pub struct Code {
    host: Arc<Inner>,
    prepared: InstancePre<Keep>,
    exports: Exports,
    bytes: Arc<[u8]>,
    digest: Digest,
    description: Description,
}

/// Where a component has what the interface asks for, found once.
struct Exports {
    describe: ComponentExportIndex,
    validate_settings: ComponentExportIndex,
    decide: ComponentExportIndex,
    migrate_state: ComponentExportIndex,
}

/// What a policy says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// What of the snapshot it can't do without.
    pub needs: Vec<Need>,
    /// JSON schema of its settings.
    pub settings_schema: String,
    /// Memory that it asks for, bytes; 0 for the host's default.
    pub memory_bytes: u64,
    /// Fuel per call that it asks for; 0 for the host's default.
    pub fuel: u64,
}

/// What a policy may not do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// When the vehicle means to leave.
    Departure,
    /// The energy that the user asked for.
    RequestedEnergy,
    /// The vehicle's state of charge.
    StateOfCharge,
    /// A price series.
    Price,
    /// A series of surplus power.
    Surplus,
    /// The grid operator's limit.
    GridLimit,
}

/// A decision and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What the policy proposes: at most one allocation per charger of the snapshot, none below zero.
    pub plan: Plan,
    /// Fuel used; the same for the same snapshot, settings and state.
    pub fuel: u64,
    /// Linear memory that it had in the end, bytes.
    pub memory_bytes: usize,
    /// Its log, bounded, each line with its level.
    pub log: Vec<String>,
}

struct Called<R> {
    result: R,
    fuel: u64,
    memory_bytes: usize,
    log: Vec<String>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("description", &self.code.description).finish_non_exhaustive()
    }
}

impl Policy {
    pub(crate) fn load(host: &Host, bytes: &[u8], grants: Grants) -> Result<Self, LoadError> {
        let host = &host.inner;
        let limit = host.limits.most_component_bytes(grants);
        if bytes.len() > limit {
            return Err(LoadError::TooLarge { size: bytes.len(), limit });
        }
        let digest = Sha256::digest(bytes).into();
        let code = host.shelf.get(digest, || Code::load(host, bytes, digest, grants))?;
        let grant = grant(&code.description, &host.limits, grants)?;
        Ok(Self { code, grant })
    }

    /// The policy's name.
    pub fn name(&self) -> &str {
        &self.code.description.name
    }

    /// The policy's own version.
    pub fn version(&self) -> &str {
        &self.code.description.version
    }

    /// SHA-256 of the component's bytes.
    pub fn digest(&self) -> Digest {
        self.code.digest
    }

    /// The component's bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.code.bytes
    }

    /// What the policy says of itself.
    pub fn description(&self) -> &Description {
        &self.code.description
    }

    /// Every fault of `settings` (JSON text); none if they are right.
    ///
    /// # Errors
    /// When the policy fails at it.
    pub fn validate_settings(&self, settings: &str) -> Result<Vec<String>, RunError> {
        let called: Called<(Vec<String>,)> =
            self.code.call(self.grant, &self.code.exports.validate_settings, (settings,))?;
        let (faults,) = called.result;
        if faults.len() > FAULTS {
            return Err(bad(format!("{} faults; at most {FAULTS} are taken", faults.len())));
        }
        Ok(faults.iter().map(|fault| self.code.cut(fault)).collect())
    }

    /// Asks for a plan. `state` is what the last plan left, empty at first.
    ///
    /// # Errors
    /// When the policy declines, fails, hits a limit or gives what can't be taken.
    pub fn decide(&self, snapshot: &Snapshot, settings: &str, state: &[u8]) -> Result<Decided, RunError> {
        let arguments = (guest::Snapshot::from(snapshot), settings, state);
        let called: Called<(Result<guest::Plan, String>,)> =
            self.code.call(self.grant, &self.code.exports.decide, arguments)?;
        let plan = called.result.0.map_err(|refusal| RunError::Refused(self.code.cut(&refusal)))?;
        let plan = checked(plan, snapshot.chargers.len(), &self.code.host.limits)?;
        Ok(Decided { plan, fuel: called.fuel, memory_bytes: called.memory_bytes, log: called.log })
    }

    /// Turns the state that version `from` of this policy has left into this version's.
    ///
    /// # Errors
    /// When the policy declines, fails, hits a limit or gives a state that is too long.
    pub fn migrate_state(&self, from: &str, state: &[u8]) -> Result<Vec<u8>, RunError> {
        let called: Called<(Result<Vec<u8>, String>,)> =
            self.code.call(self.grant, &self.code.exports.migrate_state, (from, state))?;
        let state = called.result.0.map_err(|refusal| RunError::Refused(self.code.cut(&refusal)))?;
        check_state(&state, &self.code.host.limits)?;
        Ok(state)
    }
}

impl Code {
    fn load(
        host: &Arc<Inner>,
        bytes: &[u8],
        digest: Digest,
        grants: Grants,
    ) -> Result<(Self, Origin), LoadError> {
        check::check(bytes, host.limits.most_component_bytes(grants))?;
        let (component, origin) = component(host, bytes, &digest)?;
        let prepared = run::linker(&host.engine)
            .and_then(|linker| linker.instantiate_pre(&component))
            .map_err(|e| LoadError::Interface(format!("{e:#}")))?;
        let exports = Exports::of(&component)?;
        let (host, bytes) = (Arc::clone(host), bytes.into());
        let mut code = Self { host, prepared, exports, bytes, digest, description: Description::unknown() };
        // What it may use before it has asked for anything.
        let first = Grant { fuel: grants.fuel, memory_bytes: grants.memory_bytes };
        code.check_interface(first)?;
        code.description = code.describe(first)?;
        Ok((code, origin))
    }

    /// Calls an export on a fresh instance.
    fn call<P, R>(
        &self,
        grant: Grant,
        export: &ComponentExportIndex,
        arguments: P,
    ) -> Result<Called<R>, RunError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let mut store = run::store(&self.host, grant);
        let called = self.prepared.instantiate(&mut store).and_then(|instance| {
            let function = instance.get_typed_func::<P, R>(&mut store, export)?;
            function.call(&mut store, arguments)
        });
        let result = called.map_err(|e| run::explain(&e, &store, grant, &self.host.limits))?;
        let left = store.get_fuel().expect("the engine counts fuel");
        let keep = store.into_data();
        let memory_bytes = grant.memory_bytes - keep.memory_left;
        Ok(Called { result, fuel: grant.fuel - left, memory_bytes, log: keep.log })
    }

    /// Whether every export is there in the shape that will be called.
    fn check_interface(&self, grant: Grant) -> Result<(), LoadError> {
        let mut store = run::store(&self.host, grant);
        let instance = self
            .prepared
            .instantiate(&mut store)
            .map_err(|e| LoadError::Describe(run::explain(&e, &store, grant, &self.host.limits)))?;
        has_shape::<(), (guest::Description,)>(&instance, &mut store, "describe")?;
        has_shape::<(&str,), (Vec<String>,)>(&instance, &mut store, "validate-settings")?;
        has_shape::<(guest::Snapshot<'_>, &str, &[u8]), (Result<guest::Plan, String>,)>(
            &instance, &mut store, "decide",
        )?;
        has_shape::<(&str, &[u8]), (Result<Vec<u8>, String>,)>(&instance, &mut store, "migrate-state")
    }

    fn describe(&self, grant: Grant) -> Result<Description, LoadError> {
        let called: Called<(guest::Description,)> =
            self.call(grant, &self.exports.describe, ()).map_err(LoadError::Describe)?;
        let (description,) = called.result;
        for (what, text) in [("name", &description.name), ("version", &description.version)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
            if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
                let shown = run::cut(text, 64);
                return Err(LoadError::Description(format!(
                    "its {what} is {shown:?}; use 1 to 64 letters, digits, '.', '_', '+' or '-'"
                )));
            }
        }
        Ok(description.into())
    }

    fn cut(&self, text: &str) -> String {
        run::cut(text, self.host.limits.line_bytes).into()
    }
}

impl Exports {
    fn of(component: &Component) -> Result<Self, LoadError> {
        let find = |name| {
            let missing = || LoadError::Interface(format!("`{name}`: it is not exported"));
            component.get_export_index(None, name).ok_or_else(missing)
        };
        Ok(Self {
            describe: find("describe")?,
            validate_settings: find("validate-settings")?,
            decide: find("decide")?,
            migrate_state: find("migrate-state")?,
        })
    }
}

/// Whether a function is exported in this shape.
fn has_shape<P, R>(instance: &Instance, store: &mut Store<Keep>, name: &str) -> Result<(), LoadError>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    match instance.get_typed_func::<P, R>(store, name) {
        Ok(_) => Ok(()),
        Err(e) => Err(LoadError::Interface(format!("`{name}`: {e:#}"))),
    }
}

/// The component of these bytes: from the cache if that has it whole, else compiled.
fn component(host: &Inner, bytes: &[u8], digest: &Digest) -> Result<(Component, Origin), LoadError> {
    let kept = host.cache.as_ref().and_then(|cache| {
        let sealed = cache.read(digest, &host.maker).and_then(|sealed| {
            sealed
                .map(|sealed| cache::revive(&host.engine, &sealed))
                .transpose()
                .map_err(|e| format!("{e:#}"))
        });
        sealed.unwrap_or_else(|reason| {
            tracing::warn!(reason, "compiled code in the cache is not used; the policy is compiled anew");
            None
        })
    });
    if let Some(component) = kept {
        return Ok((component, Origin::Cache));
    }
    let component = Component::new(&host.engine, bytes).map_err(|e| LoadError::Compile(format!("{e:#}")))?;
    if let Some(cache) = &host.cache {
        keep(cache, host, &component, digest);
    }
    Ok((component, Origin::Compiler))
}

fn keep(cache: &Cache, host: &Inner, component: &Component, digest: &Digest) {
    let written = component
        .serialize()
        .map_err(|e| format!("{e:#}"))
        .and_then(|code| cache.write(digest, &host.maker, &code).map_err(|e| e.to_string()));
    if let Err(reason) = written {
        tracing::warn!(reason, "compiled code can't be kept; the next start compiles the policy again");
    }
}

/// What the policy asks for, where that much is granted; where it doesn't ask, the fuel for such and no more memory than is usual.
fn grant(description: &Description, limits: &Limits, most: Grants) -> Result<Grant, LoadError> {
    let granted = |what, asked, usual, most| match asked {
        0 => Ok(std::cmp::min(usual, most)),
        asked if asked <= most => Ok(asked),
        asked => Err(LoadError::AsksTooMuch { what, asked, granted: most }),
    };
    let (usual, most_memory) = (limits.memory_bytes as u64, most.memory_bytes as u64);
    Ok(Grant {
        fuel: granted("units of fuel", description.fuel, most.unasked_fuel, most.fuel)?,
        memory_bytes: granted("bytes of memory", description.memory_bytes, usual, most_memory)? as usize,
    })
}

/// The plan, if it keeps to its bounds and to the chargers of its snapshot.
fn checked(plan: guest::Plan, chargers: usize, limits: &Limits) -> Result<Plan, RunError> {
    if plan.allocations.len() > chargers {
        return Err(bad(format!("{} allocations for {chargers} chargers", plan.allocations.len())));
    }
    check_state(&plan.state, limits)?;
    let mut named = vec![false; chargers];
    let mut allocations = Vec::with_capacity(plan.allocations.len());
    for allocation in plan.allocations {
        let index = allocation.charger;
        match named.get_mut(index as usize) {
            None => return Err(bad(format!("an allocation for charger {index} of {chargers}"))),
            Some(true) => return Err(bad(format!("two allocations for charger {index}"))),
            Some(named) => *named = true,
        }
        if allocation.limit < 0 {
            return Err(bad(format!("{} mA for charger {index}", allocation.limit)));
        }
        if allocation.reason.len() > limits.reason_bytes {
            let length = allocation.reason.len();
            return Err(bad(format!(
                "a reason of {length} bytes; at most {} are taken",
                limits.reason_bytes
            )));
        }
        allocations.push(Allocation {
            charger: index,
            limit_ma: Milliamps(allocation.limit),
            reason: allocation.reason,
        });
    }
    Ok(Plan { allocations, state: plan.state })
}

fn check_state(state: &[u8], limits: &Limits) -> Result<(), RunError> {
    if state.len() > limits.state_bytes {
        return Err(bad(format!(
            "a state of {} bytes; at most {} are taken",
            state.len(),
            limits.state_bytes
        )));
    }
    Ok(())
}

fn bad(what: String) -> RunError {
    RunError::BadOutput(what)
}

impl Description {
    /// What stands there until the policy has been asked.
    fn unknown() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            needs: Vec::new(),
            settings_schema: String::new(),
            memory_bytes: 0,
            fuel: 0,
        }
    }
}

impl From<guest::Description> for Description {
    fn from(description: guest::Description) -> Self {
        Self {
            name: description.name,
            version: description.version,
            needs: description.needs.into_iter().map(Into::into).collect(),
            settings_schema: description.settings_schema,
            memory_bytes: description.memory,
            fuel: description.fuel,
        }
    }
}

impl From<guest::Need> for Need {
    fn from(need: guest::Need) -> Self {
        match need {
            guest::Need::Departure => Self::Departure,
            guest::Need::RequestedEnergy => Self::RequestedEnergy,
            guest::Need::StateOfCharge => Self::StateOfCharge,
            guest::Need::Price => Self::Price,
            guest::Need::Surplus => Self::Surplus,
            guest::Need::GridLimit => Self::GridLimit,
        }
    }
}
