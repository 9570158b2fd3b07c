//! What is loaded, by digest: a component that many sites use is compiled once and kept once.
//!
//! A load looks here first, then in the cache on the disk, and compiles last. One load at a time does so, so that a
//! component that many ask for at once is compiled once. The shelf holds nothing alive: code goes with its last user.
//! Of components whose bytes can't be loaded the last one is remembered, so that a thousand sites that name it cost one try.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::policy::Code;
use crate::{Digest, LoadError, RunError};

/// How components were loaded so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loads {
    /// Compiled.
    pub compiled: u64,
    /// Taken from the cache on the disk.
    pub from_cache: u64,
    /// Shared with who had loaded them before.
    pub shared: u64,
}

/// The components that somebody uses.
#[derive(Default)]
pub struct Shelf {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    code: BTreeMap<Digest, Weak<Code>>,
    refused: Option<(Digest, LoadError)>,
    loads: Loads,
}

/// Where code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Compiler,
    Cache,
}

impl Shelf {
    /// The code of a component: what somebody uses already, or what `load` gives.
    pub fn get(
        &self,
        digest: Digest,
        load: impl FnOnce() -> Result<(Code, Origin), LoadError>,
    ) -> Result<Arc<Code>, LoadError> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = content.code.get(&digest).and_then(Weak::upgrade) {
            content.loads.shared += 1;
            return Ok(code);
        }
        if let Some((_, error)) = content.refused.as_ref().filter(|(refused, _)| *refused == digest) {
            return Err(error.clone());
        }
        let (code, origin) = load().inspect_err(|error| {
            if is_about_the_bytes(error) {
                content.refused = Some((digest, error.clone()));
            }
        })?;
        match origin {
            Origin::Compiler => content.loads.compiled += 1,
            Origin::Cache => content.loads.from_cache += 1,
        }
        let code = Arc::new(code);
        content.code.retain(|_, code| code.strong_count() > 0);
        content.code.insert(digest, Arc::downgrade(&code));
        Ok(code)
    }

    pub fn loads(&self) -> Loads {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).loads
    }
}

/// Whether the same bytes fail like this each time. A machine that was busy or had no memory may have it the next time.
fn is_about_the_bytes(error: &LoadError) -> bool {
    match error {
        LoadError::TooLarge { .. }
        | LoadError::Malformed(_)
        | LoadError::CoreModule
        | LoadError::NoStamp
        | LoadError::UnknownVersion(_)
        | LoadError::ForbiddenImport(_)
        | LoadError::Interface(_)
        | LoadError::Description(_) => true,
        // A policy that traps does so each time. Who grants more may have more luck; that no instance could be made is bad
        // output too.
        LoadError::Describe(error) => matches!(error, RunError::Trap(_)),
        LoadError::Compile(_) | LoadError::AsksTooMuch { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a component is tried that two ask for, and that fails like this.
    fn tries(error: LoadError) -> usize {
        let (shelf, mut tries) = (Shelf::default(), 0);
        for _ in 0..2 {
            let refused = shelf.get([1; 32], || {
                tries += 1;
                Err(error.clone())
            });
            assert_eq!(refused.err(), Some(error.clone()));
        }
        assert_eq!(shelf.loads(), Loads::default());
        tries
    }

    #[test]
    fn what_can_not_be_loaded_is_tried_once_if_that_is_about_its_bytes() {
        assert_eq!(tries(LoadError::NoStamp), 1);
        assert_eq!(tries(LoadError::Malformed("cut off".into())), 1);
        assert_eq!(tries(LoadError::Compile("no memory".into())), 2);
        assert_eq!(tries(LoadError::Describe(RunError::BadOutput("no memory".into()))), 2);
        assert_eq!(tries(LoadError::Describe(RunError::Trap("unreachable".into()))), 1);
        assert_eq!(tries(LoadError::Describe(RunError::OutOfFuel(10))), 2);
        assert_eq!(tries(LoadError::Describe(RunError::Deadline(std::time::Duration::ZERO))), 2);
    }
}
