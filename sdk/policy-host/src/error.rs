//! Why a policy isn't loaded, and why a call gave nothing.

/// The runtime did not start. This is about the machine, not about a policy.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly runtime does not start on this machine: {0}")]
pub struct HostError(pub(crate) String);

/// Why a component is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// More than [`crate::Limits::component_bytes`]; nothing of it was read.
    #[error("the component has {size} bytes; this host reads at most {limit}")]
    TooLarge {
        /// Its size, bytes.
        size: usize,
        /// The bound, bytes.
        limit: usize,
    },
    /// It is no WebAssembly, or damaged or truncated.
    #[error("this is no whole WebAssembly component: {0}")]
    Malformed(String),
    /// A module that was not made a component.
    #[error("this is a core module, not a component; build it with `wattle policy build`")]
    CoreModule,
    /// No interface version is stamped into it.
    #[error("the component has no section `wattle:load-policy`; build it with `wattle policy build`")]
    NoStamp,
    /// An interface version that this host doesn't run, or more than one.
    #[error("the component is made for version {0:?} of the policy interface; this host runs {known}: build it with the SDK of this version of Wattle, or update the edge node", known = crate::INTERFACE_VERSIONS.join(", "))]
    UnknownVersion(String),
    /// It wants something that no policy gets.
    #[error("the component imports `{0}`; a policy may import nothing but wattle:load-policy/log")]
    ForbiddenImport(String),
    /// It doesn't compile.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// It lacks a function of the interface, or has it in another shape.
    #[error("the component does not fit the policy interface: {0}")]
    Interface(String),
    /// It can't say who it is.
    #[error("the policy fails to describe itself: {0}")]
    Describe(#[source] RunError),
    /// It says what can't be.
    #[error("the policy describes itself wrongly: {0}")]
    Description(String),
    /// It asks for more than this host grants.
    #[error("the policy asks for {asked} {what}; this host grants {granted}")]
    AsksTooMuch {
        /// Of what.
        what: &'static str,
        /// How much it asks for.
        asked: u64,
        /// How much there is.
        granted: u64,
    },
}

/// Why a call gave nothing. The same call ends the same way each time, but for [`RunError::Deadline`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It broke down: a panic, a division by zero, an exhausted stack. The text has the last line of its log.
    #[error("the policy broke down: {0}")]
    Trap(String),
    /// It did not finish with the fuel that it had.
    #[error("the policy did not finish with {0} units of fuel")]
    OutOfFuel(u64),
    /// It did not finish in time.
    #[error("the policy did not finish within {0:?}")]
    Deadline(std::time::Duration),
    /// It wanted more memory than it may have, bytes.
    #[error("the policy wanted more than its {0} bytes of memory")]
    OutOfMemory(usize),
    /// What it gave breaks a bound or makes no sense.
    #[error("the policy gave what can't be taken: {0}")]
    BadOutput(String),
    /// It declined, in its own words.
    #[error("the policy declines: {0}")]
    Refused(String),
}
