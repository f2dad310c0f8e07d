//! The allocator of the C library, told to give memory back to the system.
//!
//! glibc serves a block from the system alone, and returns it when it is freed, from a size on that it raises by itself up to
//! 32 MiB: after an attack, the blocks of bodies and answers then stay in its heaps. A size that is set stays as it is.

/// From this size on, in bytes, a block is the system's own and goes back when it is freed. It is glibc's own first size,
/// below the 512 KiB of an upload's blocks and the megabytes of manifests and lists.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_BLOCKS: i32 = 128 << 10;

/// Sets what glibc would otherwise change by itself. Nothing on another C library.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn give_memory_back() {
    // 500 uploads that stall leave 251 MB resident without it and 68 MB with it; 256 stalled manifests 111 and 41 MB.
    // SAFETY: `mallopt` takes two integers, and no other thread runs yet.
    #[expect(
        unsafe_code,
        reason = "the standard library has no call for it; the figures are above"
    )]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BLOCKS);
    }
}

/// Sets what glibc would otherwise change by itself. Nothing on another C library.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_memory_back() {}
