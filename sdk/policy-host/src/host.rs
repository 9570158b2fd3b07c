//! The runtime: one engine, its configuration, and the thread that makes its clock tick.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::policy::Policy;
use crate::shelf::Shelf;
use crate::sign::{KeyId, KeyRing, SignError};
use crate::{Cache, Digest, Grants, HostError, Limits, LoadError, Loads, cache};

/// Ticks of the engine's clock per deadline.
pub(crate) const TICKS: u64 = 5;

/// Compiles and runs policies. Cheap to clone; its clock stops with the last clone and the last policy.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
    trust: Option<Arc<Trust>>,
}

/// Who may decide.
#[derive(Debug)]
struct Trust {
    ring: KeyRing,
    /// Whether what nobody has signed may decide too.
    unsigned: bool,
}

pub(crate) struct Inner {
    pub engine: Engine,
    pub limits: Limits,
    pub cache: Option<Cache>,
    /// What compiles here; see [`Cache`].
    pub maker: Digest,
    pub shelf: Shelf,
    /// Closed when the last user is gone, which ends the clock's thread.
    _running: mpsc::SyncSender<()>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Host {
    /// Starts the runtime and the thread of its clock.
    ///
    /// # Errors
    /// When the runtime doesn't support this machine, or no thread can be started.
    pub fn new(limits: Limits) -> Result<Self, HostError> {
        Self::start(limits, None)
    }

    /// The same, with compiled code kept on the disk.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub fn with_cache(limits: Limits, cache: Cache) -> Result<Self, HostError> {
        Self::start(limits, Some(cache))
    }

    fn start(limits: Limits, cache: Option<Cache>) -> Result<Self, HostError> {
        let engine = Engine::new(&config()).map_err(|e| HostError(format!("{e:#}")))?;
        let running = start_clock(&engine, limits.deadline / TICKS as u32)
            .map_err(|e| HostError(format!("cannot start the clock's thread: {e}")))?;
        let (maker, shelf) = (cache::maker(&engine), Shelf::default());
        let inner = Arc::new(Inner { engine, limits, cache, maker, shelf, _running: running });
        Ok(Self { inner, trust: None })
    }

    /// The same host, which trusts only what a key of the ring has signed; with `unsigned` also what nobody has.
    #[must_use]
    pub fn trusting(self, ring: KeyRing, unsigned: bool) -> Self {
        Self { trust: Some(Arc::new(Trust { ring, unsigned })), ..self }
    }

    /// Whether the bytes of a file may decide: who has signed them, by the signature beside the file. Loading doesn't ask: who
    /// loads what came from elsewhere asks first.
    ///
    /// # Errors
    /// When this host trusts only what is signed and this isn't, or not by a key of its ring.
    pub fn admit(&self, path: &Path, bytes: &[u8]) -> Result<Option<KeyId>, SignError> {
        let Some(trust) = &self.trust else { return Ok(None) };
        match trust.ring.verify(path, bytes) {
            Ok((_, key)) => Ok(Some(key)),
            Err(SignError::Unsigned(_)) if trust.unsigned => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bounds that policies run in.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Checks, compiles and prepares a policy, and asks it to describe itself. Takes a tenth of a second and more,
    /// unless the component is in use already or in the cache.
    ///
    /// # Errors
    /// When it is not a whole component of a version that this host runs, imports anything but the log, or
    /// fails to describe itself inside the limits.
    pub fn load(&self, bytes: &[u8]) -> Result<Policy, LoadError> {
        self.load_within(bytes, self.inner.limits.usual())
    }

    /// The same for a policy that may have this much.
    ///
    /// # Errors
    /// As [`Host::load`].
    pub fn load_within(&self, bytes: &[u8], grants: Grants) -> Result<Policy, LoadError> {
        Policy::load(self, bytes, grants)
    }

    /// How components were loaded so far.
    pub fn loads(&self) -> Loads {
        self.inner.shelf.loads()
    }
}

pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        // The same plan from the same snapshot, on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        // Some boards have an address space of 39 bits: reserve what a policy uses, not what it might.
        .memory_reservation(1 << 20)
        .memory_reservation_for_growth(1 << 20)
        .memory_guard_size(64 << 10);
    config
}

/// Advances the engine's epoch every `tick` until the returned sender is dropped.
fn start_clock(engine: &Engine, tick: Duration) -> std::io::Result<mpsc::SyncSender<()>> {
    let (running, ended) = mpsc::sync_channel::<()>(0);
    let engine = engine.weak();
    let tick = tick.max(Duration::from_millis(1));
    std::thread::Builder::new().name("policy-clock".into()).spawn(move || {
        while ended.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    })?;
    Ok(running)
}
