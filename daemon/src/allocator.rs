//! The allocator, told to keep little memory that nobody uses: `memory` is a promise about the resident set.
#![allow(unsafe_code)] // one static that C reads, and one call of C with plain numbers

use std::ffi::c_ulong;

/// jemalloc, for librdkafka's `malloc` too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// `malloc_conf` of jemalloc, which reads it before `main`; the environment's `MALLOC_CONF` goes before it.
///
/// Windows are written by changing threads. One arena: what one thread frees is what another takes next, and does not lie
/// unused in an arena of its own; threads keep little for themselves. Freed pages go back within 500 ms, by a thread of the
/// allocator where nobody calls it.
// SAFETY: jemalloc's name for a pointer to a string that ends with a zero byte, which this is; nothing else has that name.
#[unsafe(export_name = "malloc_conf")]
pub static SETTINGS: &[u8; 128] = b"narenas:1,tcache_nslots_small_max:64,tcache_nslots_large:4,\
      background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0,thp:never\0";

/// Takes no huge pages: of one, a part that nobody uses is resident with the rest.
pub fn no_huge_pages() {
    let (yes, unused): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: takes numbers only. Where the kernel does not know it, it changes nothing.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, yes, unused, unused, unused) };
}
