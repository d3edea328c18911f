//! Which allocator serves a process.
//!
//! The gateway works with many threads, for which musl's allocator has one lock: with it a call costs several times the CPU. So jemalloc
//! serves the gateway. Its arenas cost a process that hardly allocates more than all it does: PID 1, a command's init, each command
//! line stay with musl's (docs/benchmarks.md).

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use tikv_jemallocator::Jemalloc;

/// musl's allocator until [`ByProcess::serve_threads`], jemalloc from then on.
pub struct ByProcess {
    threads: AtomicBool,
    /// Blocks of musl's that are held.
    held: AtomicUsize,
}

impl ByProcess {
    pub const fn new() -> Self {
        Self { threads: AtomicBool::new(false), held: AtomicUsize::new(0) }
    }

    /// Changes to jemalloc, as the first thing in `main`.
    ///
    /// # Panics
    /// When a block is held, which must go back to where it came from: when a new standard library allocates before `main`.
    pub fn serve_threads(&self) {
        assert_eq!(self.held.load(Relaxed), 0, "blocks were allocated before main");
        self.threads.store(true, Relaxed);
    }

    fn is_jemalloc(&self) -> bool {
        self.threads.load(Relaxed)
    }
}

// SAFETY: each call is handed on as it came to an allocator that keeps the trait's promises, and a block goes back to the one it came
// from: the one change between the two is made while no block is held, by the only thread there is. (Not inlined: the choice at every
// place that allocates is half a megabyte of program.)
unsafe impl GlobalAlloc for ByProcess {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.is_jemalloc() {
            return unsafe { Jemalloc.alloc(layout) };
        }
        self.held.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if self.is_jemalloc() {
            return unsafe { Jemalloc.alloc_zeroed(layout) };
        }
        self.held.fetch_add(1, Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_jemalloc() {
            return unsafe { Jemalloc.dealloc(block, layout) };
        }
        self.held.fetch_sub(1, Relaxed);
        unsafe { System.dealloc(block, layout) }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.is_jemalloc() {
            return unsafe { Jemalloc.realloc(block, layout, size) };
        }
        unsafe { System.realloc(block, layout, size) }
    }
}
