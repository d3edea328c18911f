//! The first instructions of the program, before the C library's: from start to `exec` in less time (docs/benchmarks.md).
//!
//! A static PIE relocates itself: before `main` its C library adds the address at which the program lies to some 15,000 pointers in sixty
//! pages. Each first write to a page is a page fault of its own, and musl looks at the table of places bit by bit. So the pages are asked
//! for in one system call, and the table is worked off here, a pointer at a time; the C library then finds it empty.
//!
//! Nothing may be used here that needs a relocated pointer itself, or the C library: no statics of other crates, no calls, no panics.
//! build.rs makes this the entry point on the one architecture where it was measured.

/// An entry of the dynamic section, `Elf64_Dyn`.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

const DT_NULL: i64 = 0;
const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;
const PAGE: usize = 4096;

// The stack is aligned as the kernel leaves it, and as it was when `_start` takes over. It finds no function to call at the exit in rdx:
// there is no dynamic loader that could have left one.
std::arch::global_asm!(
    ".globl warden_start",
    ".hidden warden_start",
    ".type warden_start, @function",
    "warden_start:",
    "lea rdi, [rip + __ehdr_start]",
    "lea rsi, [rip + __init_array_start]",
    "lea rdx, [rip + _edata]",
    "lea rcx, [rip + _DYNAMIC]",
    "call {prepare}",
    "xor edx, edx",
    "jmp _start",
    ".size warden_start, . - warden_start",
    prepare = sym prepare,
);

/// `base` is where the program lies, which is linked for address 0. All that is relocated is from `first` to `end`.
unsafe extern "C" fn prepare(base: usize, first: usize, end: usize, dynamic: *mut Dynamic) {
    let first = first & !(PAGE - 1);
    populate(first, end - first);
    let (mut table, mut bytes) = (0, 0);
    let mut entry = dynamic;
    // SAFETY: the linker ends the section with DT_NULL, it is writable until the C library has relocated the program, and nobody else runs.
    while let Dynamic { tag, value } = unsafe { &mut *entry }
        && *tag != DT_NULL
    {
        match *tag {
            DT_RELR => table = base + *value,
            DT_RELRSZ => bytes = std::mem::replace(value, 0),
            _ => {}
        }
        entry = entry.wrapping_add(1);
    }
    // SAFETY: the linker made the table for this program, and it was not worked off before.
    unsafe { relocate(base, table as *const usize, bytes / size_of::<usize>()) };
}

/// Has the pages there before they are written, in one call. A kernel before 5.14 does not know it and refuses; then they come one by one.
fn populate(address: usize, length: usize) {
    // SAFETY: the call changes nothing in the pages; `syscall` spoils rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_madvise => _,
            in("rdi") address,
            in("rsi") length,
            in("rdx") i64::from(libc::MADV_POPULATE_WRITE),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
}

/// Adds `base` to each pointer that the table names. An even word is the place of one; an odd one is a map of the 63 words that follow
/// the last place: generic ABI, [SHT_RELR](https://gabi.xinuos.com/elf/06-reloc.html#relative-relocation-table).
unsafe fn relocate(base: usize, table: *const usize, words: usize) {
    let mut place = std::ptr::null_mut::<usize>();
    for index in 0..words {
        // SAFETY: as the caller says; what the words name are pointers in the program's own writable pages.
        unsafe {
            let word = *table.add(index);
            if word & 1 == 0 {
                place = (base + word) as *mut usize;
                *place += base;
                place = place.add(1);
                continue;
            }
            let mut map = word >> 1;
            while map != 0 {
                *place.add(map.trailing_zeros() as usize) += base;
                map &= map - 1;
            }
            place = place.add(63);
        }
    }
}
