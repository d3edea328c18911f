//! `memcpy` and `memmove` of the static program: musl's begin every copy with `rep movsq`, which takes some processors longer than the
//! copy (docs/benchmarks.md). Here each size up to 128 bytes is two to eight loads, then as many stores, and a longer one a loop of
//! registers of 16 bytes, which every x86-64 has.
//!
//! Assembly, because a compiler makes a call of `memcpy` of a loop that copies: of this one too.

std::arch::global_asm!(
    ".p2align 5",
    ".globl warden_copy",
    ".hidden warden_copy",
    ".type warden_copy, @function",
    // rdi: to, rsi: from, rdx: bytes; rax: the first, as memcpy(3) returns it. Everything is read before it is written over.
    "warden_copy:",
    "mov rax, rdi",
    "cmp rdx, 16",
    "ja 4f",
    "cmp edx, 8",
    "jb 2f",
    "mov rcx, [rsi]",
    "mov rsi, [rsi + rdx - 8]",
    "mov [rdi], rcx",
    "mov [rdi + rdx - 8], rsi",
    "ret",
    "2: cmp edx, 4",
    "jb 3f",
    "mov ecx, [rsi]",
    "mov esi, [rsi + rdx - 4]",
    "mov [rdi], ecx",
    "mov [rdi + rdx - 4], esi",
    "ret",
    "3: test edx, edx",
    "jz 9f",
    "movzx ecx, byte ptr [rsi]", // the first, the last and the one in the middle, which are the same of one or two
    "mov r8, rdx",
    "shr r8, 1",
    "movzx r9d, byte ptr [rsi + r8]",
    "movzx esi, byte ptr [rsi + rdx - 1]",
    "mov [rdi], cl",
    "mov [rdi + r8], r9b",
    "mov [rdi + rdx - 1], sil",
    "9: ret",
    "4: cmp rdx, 32",
    "ja 5f",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + rdx - 16]",
    "movups [rdi], xmm0",
    "movups [rdi + rdx - 16], xmm1",
    "ret",
    "5: movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm2, [rsi + rdx - 32]",
    "movups xmm3, [rsi + rdx - 16]",
    "cmp rdx, 64",
    "ja 6f",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + rdx - 32], xmm2",
    "movups [rdi + rdx - 16], xmm3",
    "ret",
    "6: movups xmm4, [rsi + 32]",
    "movups xmm5, [rsi + 48]",
    "movups xmm6, [rsi + rdx - 64]",
    "movups xmm7, [rsi + rdx - 48]",
    "cmp rdx, 128",
    "ja 7f",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + 32], xmm4",
    "movups [rdi + 48], xmm5",
    "movups [rdi + rdx - 64], xmm6",
    "movups [rdi + rdx - 48], xmm7",
    "movups [rdi + rdx - 32], xmm2",
    "movups [rdi + rdx - 16], xmm3",
    "ret",
    // Longer: 64 bytes a turn, to aligned places; what is left over at both ends was read before and is written last.
    "7: mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "jb 8f",
    // Upwards, to r9: the last 64 bytes.
    "lea r9, [rdi + rdx - 64]",
    "mov rcx, rdi",
    "and rcx, 15",
    "sub rcx, 16",
    "sub rsi, rcx",
    "sub rdi, rcx",
    ".p2align 4",
    "2: movups xmm4, [rsi]",
    "movups xmm5, [rsi + 16]",
    "movups xmm8, [rsi + 32]",
    "movups xmm9, [rsi + 48]",
    "movaps [rdi], xmm4",
    "movaps [rdi + 16], xmm5",
    "movaps [rdi + 32], xmm8",
    "movaps [rdi + 48], xmm9",
    "add rsi, 64",
    "add rdi, 64",
    "cmp rdi, r9",
    "jb 2b",
    "movups [r9], xmm6",
    "movups [r9 + 16], xmm7",
    "movups [r9 + 32], xmm2",
    "movups [r9 + 48], xmm3",
    "movups [rax], xmm0",
    "ret",
    // Downwards, to r9: what follows the first 64 bytes.
    "8: lea r9, [rdi + 64]",
    "lea r8, [rdi + rdx]",
    "add rsi, rdx",
    "mov rcx, r8",
    "and rcx, 15",
    "sub rsi, rcx",
    "sub r8, rcx",
    ".p2align 4",
    "2: movups xmm6, [rsi - 16]",
    "movups xmm7, [rsi - 32]",
    "movups xmm8, [rsi - 48]",
    "movups xmm9, [rsi - 64]",
    "movaps [r8 - 16], xmm6",
    "movaps [r8 - 32], xmm7",
    "movaps [r8 - 48], xmm8",
    "movaps [r8 - 64], xmm9",
    "sub rsi, 64",
    "sub r8, 64",
    "cmp r8, r9",
    "ja 2b",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + 32], xmm4",
    "movups [rdi + 48], xmm5",
    "movups [rdi + rdx - 16], xmm3",
    "ret",
    ".size warden_copy, . - warden_copy",
);

// Under these names the linker takes it for every copy in the program, instead of the C library's.
#[cfg(target_env = "musl")]
std::arch::global_asm!(
    ".globl memcpy",
    ".type memcpy, @function",
    ".set memcpy, warden_copy",
    ".globl memmove",
    ".type memmove, @function",
    ".set memmove, warden_copy",
);

#[cfg(test)]
mod tests {
    unsafe extern "C" {
        fn warden_copy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
    }

    /// Copies within `memory`, and looks at all of it.
    fn assert_copies(memory: &mut [u8], from: usize, to: usize, bytes: usize) {
        for (at, byte) in memory.iter_mut().enumerate() {
            *byte = (at % 251) as u8;
        }
        let mut expected = memory.to_vec();
        expected.copy_within(from..from + bytes, to);
        let start = memory.as_mut_ptr();
        // SAFETY: both lie in `memory`, as `copy_within` has seen.
        let returned = unsafe { warden_copy(start.add(to), start.add(from), bytes) };
        assert!(memory == expected, "{bytes} bytes from {from} to {to}");
        assert_eq!(returned as usize, start as usize + to);
    }

    #[test]
    fn every_length_is_copied_whole_from_and_to_every_alignment_and_nothing_beside_it() {
        let mut memory = [0; 1500];
        for bytes in (0..300).chain([511, 512, 513, 640]) {
            for from in 0..16 {
                for to in 0..16 {
                    assert_copies(&mut memory, from + 16, to + 760, bytes);
                }
            }
        }
    }

    #[test]
    fn what_overlaps_is_read_before_it_is_written_over() {
        let mut memory = [0; 1100];
        for bytes in (0..300).chain([511, 512, 513, 640]) {
            for apart in (0..=130).chain([255, 256, 257]) {
                for aligned in 0..16 {
                    assert_copies(&mut memory, 16 + aligned, 16 + aligned + apart, bytes);
                    assert_copies(&mut memory, 16 + aligned + apart, 16 + aligned, bytes);
                }
            }
        }
    }
}
