//! One call: a fresh store with its limits, and what its errors mean.

use wasmtime::component::{Linker, WasmStr};
use wasmtime::{Engine, ResourceLimiter, Store, StoreContextMut, Trap};

use crate::guest::Level;
use crate::host::{Inner, TICKS};
use crate::{Limits, RunError};

/// Elements of a table; a policy's functions that are called indirectly stand in one.
const TABLE_ELEMENTS: usize = 10_000;

/// What a call may use, after what the policy asked for.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    pub fuel: u64,
    pub memory_bytes: usize,
}

/// What the host keeps beside a running instance.
pub struct Keep {
    pub log: Vec<String>,
    log_lines: usize,
    line_bytes: usize,
    pub memory_left: usize,
}

/// The memory limit was hit; the type by which it is told from other errors.
#[derive(Debug, thiserror::Error)]
#[error("the memory limit is reached")]
struct MemoryExhausted;

impl ResourceLimiter for Keep {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        match self.memory_left.checked_sub(desired.saturating_sub(current)) {
            Some(left) => {
                self.memory_left = left;
                Ok(true)
            }
            None => Err(MemoryExhausted.into()),
        }
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    /// A component of several modules, as Python's, has an instance for each and for each way between them.
    fn instances(&self) -> usize {
        100
    }

    fn tables(&self) -> usize {
        100
    }

    fn memories(&self) -> usize {
        8
    }
}

/// A store for one call.
pub fn store(host: &Inner, grant: Grant) -> Store<Keep> {
    let limits = &host.limits;
    let keep = Keep {
        log: Vec::new(),
        log_lines: limits.log_lines,
        line_bytes: limits.line_bytes,
        memory_left: grant.memory_bytes,
    };
    let mut store = Store::new(&host.engine, keep);
    store.limiter(|keep| keep);
    store.set_fuel(grant.fuel).expect("the engine counts fuel");
    // One more, because the first tick may come at once.
    store.set_epoch_deadline(TICKS * u64::from(limits.times(grant.fuel)) + 1);
    store.set_hostcall_fuel(limits.output_bytes);
    store
}

/// What a policy may import: the log.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<Keep>> {
    let mut linker = Linker::new(engine);
    linker.instance("wattle:load-policy/log@1.0.0")?.func_wrap("write", write)?;
    Ok(linker)
}

fn write(mut store: StoreContextMut<'_, Keep>, (level, message): (Level, WasmStr)) -> wasmtime::Result<()> {
    let keep = store.data();
    if keep.log.len() >= keep.log_lines {
        return Ok(());
    }
    let line_bytes = keep.line_bytes;
    let message = message.to_str(&store)?;
    let line = format!("{}: {}", level.name(), cut(&message, line_bytes));
    store.data_mut().log.push(line);
    Ok(())
}

/// What a failed call means.
pub fn explain(error: &wasmtime::Error, store: &Store<Keep>, grant: Grant, limits: &Limits) -> RunError {
    if error.downcast_ref::<MemoryExhausted>().is_some() {
        return RunError::OutOfMemory(grant.memory_bytes);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => RunError::OutOfFuel(grant.fuel),
        Some(Trap::Interrupt) => RunError::Deadline(limits.deadline_of(grant.fuel)),
        Some(trap) => RunError::Trap(match store.data().log.last() {
            Some(line) => format!("{trap}; last line of its log: {line}"),
            None => trap.to_string(),
        }),
        // The runtime could not read what the guest gave: too much, or not of the interface's shape.
        None => RunError::BadOutput(cut(&format!("{:#}", error.root_cause()), limits.line_bytes).into()),
    }
}

/// The beginning of a text, at most `bytes` long.
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
