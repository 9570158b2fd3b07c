//! How much of the memory that was freed the process keeps.
//!
//! Left to itself, glibc lets the size above which a block is the system's own grow to 32 MiB with the blocks that are freed,
//! and gives each thread a heap that only shrinks from its end. A node seals every few seconds, each time on a thread of its own: the
//! columns of one sealing, freed, stay in that heap as holes beside small blocks that live on.

/// Blocks from this size on are given back as soon as they are freed, bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK: libc::c_int = 128 << 10;
/// How many heaps all threads share.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: libc::c_int = 2;

/// Has freed memory given back soon, from now on; before the first thread is started. Elsewhere than on glibc it does nothing.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, GIVEN_BACK),
        (libc::M_TRIM_THRESHOLD, GIVEN_BACK),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        // SAFETY: these options take any number; one that is not taken changes nothing.
        unsafe { libc::mallopt(option, value) };
    }
}
