//! Lines for people. The host bounds them in number and length: what is beyond is dropped or cut.
//!
//! Outside WebAssembly the lines go to standard error, where a test runner shows them with a failed test.

macro_rules! level {
    ($(#[$doc:meta])* $name:ident, $level:ident) => {
        $(#[$doc])*
        pub fn $name(message: &str) {
            #[cfg(target_arch = "wasm32")]
            {
                use crate::bindings::wattle::load_policy::log;
                log::write(log::Level::$level, message);
            }
            #[cfg(not(target_arch = "wasm32"))]
            eprintln!("{}: {message}", stringify!($name));
        }
    };
}

level!(
    /// For the author of the policy.
    ///
    /// ```
    /// wattle_policy::log::debug("the surplus is 3 A");
    /// ```
    debug,
    Debug
);
level!(
    /// For whoever runs the site.
    ///
    /// ```
    /// wattle_policy::log::info("switched to the cheap hours");
    /// ```
    info,
    Info
);
level!(
    /// Something is odd.
    ///
    /// ```
    /// wattle_policy::log::warn("there is no price series");
    /// ```
    warn,
    Warn
);
