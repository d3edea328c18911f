//! The first instructions of the program, before the C library's: from start to `exec` in less time (docs/benchmarks.md).
//!
//! A static PIE relocates itself: before `main` its C library adds the address at which the program lies to some 15,000 pointers in sixty
//! pages. Each first write to a page is a page fault of its own, and musl looks at the table of places bit by bit. So the pages are asked
//! for in one system call, and the table is worked off here, a pointer at a time; the C library then finds it empty.
//!
//! Assembly, because a compiler may use relocated pointers wherever it likes: a debug build of the same in Rust did, and crashed.
//! build.rs makes this the entry point on the one architecture where it was measured. The table is that of the generic ABI,
//! [SHT_RELR](https://gabi.xinuos.com/elf/06-reloc.html#relative-relocation-table): an even word is the place of a pointer, an odd one a
//! map of the 63 words that follow the last place.

std::arch::global_asm!(
    ".globl warden_start",
    ".hidden warden_start",
    ".type warden_start, @function",
    "warden_start:",
    // Pages: from that of the first section which is relocated to the last that is in the file. A kernel before 5.14 does not know the
    // call and refuses; then they come one by one.
    "lea rdi, [rip + __init_array_start]",
    "and rdi, -4096",
    "lea rsi, [rip + _edata]",
    "sub rsi, rdi",
    "mov edx, {populate_write}",
    "mov eax, {madvise}",
    "syscall",
    // The table's address (rsi) and end (rcx), from the dynamic section; the size there becomes 0, for the C library looks next.
    "lea rdi, [rip + __ehdr_start]", // rdi: where the program lies, which is linked for address 0
    "lea rdx, [rip + _DYNAMIC]",
    "xor esi, esi",
    "xor ecx, ecx",
    "2: mov rax, [rdx]",
    "cmp rax, {dt_relr}",
    "jne 3f",
    "mov rsi, [rdx + 8]",
    "add rsi, rdi",
    "3: cmp rax, {dt_relrsz}",
    "jne 4f",
    "mov rcx, [rdx + 8]",
    "mov qword ptr [rdx + 8], 0",
    "4: add rdx, 16",
    "test rax, rax", // DT_NULL ends the section
    "jnz 2b",
    "add rcx, rsi",
    // Its words, rdx being the place that follows the last one.
    "5: cmp rsi, rcx",
    "je 8f",
    "mov rax, [rsi]",
    "add rsi, 8",
    "shr rax, 1",
    "jc 6f",
    "lea rdx, [rdi + 2 * rax]",
    "add [rdx], rdi",
    "add rdx, 8",
    "jmp 5b",
    "6: test rax, rax",
    "jz 7f",
    "bsf r8, rax",
    "add [rdx + 8 * r8], rdi",
    "lea r8, [rax - 1]",
    "and rax, r8",
    "jmp 6b",
    "7: add rdx, 63 * 8",
    "jmp 5b",
    // To the C library, with the stack untouched, and no function in rdx that a dynamic loader would have left for the exit.
    "8: xor edx, edx",
    "jmp _start",
    ".size warden_start, . - warden_start",
    populate_write = const libc::MADV_POPULATE_WRITE,
    madvise = const libc::SYS_madvise,
    dt_relr = const 36,
    dt_relrsz = const 35,
);
