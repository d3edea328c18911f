//! `memcmp` and `bcmp` of the static program: musl's look at a byte at a time, of a token of 500 too. Here 16 are compared at once.
//!
//! Assembly for the reason that [`crate::copy`] gives: a compiler makes a call of `memcmp` of a loop that compares.

std::arch::global_asm!(
    ".p2align 5",
    ".globl warden_compare",
    ".hidden warden_compare",
    ".type warden_compare, @function",
    // rdi, rsi: what is compared, rdx: bytes; eax: below, equal to or above 0, as memcmp(3) returns it.
    "warden_compare:",
    "cmp rdx, 16",
    "jb 4f",
    "lea r8, [rdx - 16]", // where the last 16 begin
    "xor ecx, ecx",
    "2: movups xmm0, [rdi + rcx]",
    "movups xmm1, [rsi + rcx]",
    "pcmpeqb xmm0, xmm1",
    "pmovmskb eax, xmm0",
    "xor eax, 0xffff",
    "jnz 3f",
    "cmp rcx, r8",
    "je 9f",
    "add rcx, 16",
    "cmp rcx, r8",
    "cmova rcx, r8",
    "jmp 2b",
    "3: bsf eax, eax", // the first byte that differs
    "add rcx, rax",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx ecx, byte ptr [rsi + rcx]",
    "sub eax, ecx",
    "ret",
    "4: cmp edx, 8",
    "jb 6f",
    "mov rax, [rdi]",
    "mov rcx, [rsi]",
    "cmp rax, rcx",
    "jne 5f",
    "mov rax, [rdi + rdx - 8]",
    "mov rcx, [rsi + rdx - 8]",
    "cmp rax, rcx",
    "jne 5f",
    "xor eax, eax",
    "ret",
    "5: bswap rax", // the first byte counts most
    "bswap rcx",
    "cmp rax, rcx",
    "sbb eax, eax",
    "or eax, 1",
    "ret",
    "6: cmp edx, 4",
    "jb 7f",
    "mov eax, [rdi]",
    "mov ecx, [rsi]",
    "bswap eax",
    "bswap ecx",
    "mov r8d, [rdi + rdx - 4]",
    "mov r9d, [rsi + rdx - 4]",
    "bswap r8d",
    "bswap r9d",
    "shl rax, 32",
    "shl rcx, 32",
    "or rax, r8",
    "or rcx, r9",
    "cmp rax, rcx",
    "seta al",
    "setb cl",
    "sub al, cl",
    "movsx eax, al",
    "ret",
    "7: xor eax, eax",
    "xor ecx, ecx",
    "8: cmp rcx, rdx",
    "je 9f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "jz 8b",
    "9: ret",
    ".size warden_compare, . - warden_compare",
);

#[cfg(target_env = "musl")]
std::arch::global_asm!(
    ".globl memcmp",
    ".type memcmp, @function",
    ".set memcmp, warden_compare",
    ".globl bcmp",
    ".type bcmp, @function",
    ".set bcmp, warden_compare",
);

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    unsafe extern "C" {
        fn warden_compare(one: *const u8, other: *const u8, bytes: usize) -> i32;
    }

    fn compared(one: &[u8], other: &[u8]) -> Ordering {
        assert_eq!(one.len(), other.len());
        // SAFETY: both have that many bytes.
        unsafe { warden_compare(one.as_ptr(), other.as_ptr(), one.len()) }.cmp(&0)
    }

    #[test]
    fn the_first_byte_that_differs_decides_wherever_it_lies_and_whatever_follows() {
        for length in 0..200 {
            let one: Vec<u8> = (0..length).map(|at| (at * 37 % 251) as u8).collect();
            assert_eq!(compared(&one, &one.clone()), Ordering::Equal, "{length} equal bytes");
            for at in 0..length {
                for (byte, after) in [(0, 0xff), (0x7f, 0), (0x80, 0), (0xff, 0)] {
                    let mut other = one.clone();
                    other[at] = byte;
                    other[at + 1..].fill(after);
                    assert_eq!(compared(&one, &other), one.cmp(&other), "byte {at} of {length}: {byte}");
                    assert_eq!(compared(&other, &one), other.cmp(&one), "byte {at} of {length}: {byte}, the other way");
                }
            }
        }
    }

    #[test]
    fn what_lies_beside_the_bytes_is_not_compared() {
        for length in 0..80 {
            for start in 1..17 {
                let (mut one, mut other) = ([1_u8; 120], [2_u8; 120]);
                one[start..start + length].fill(3);
                other[start..start + length].fill(3);
                assert_eq!(compared(&one[start..start + length], &other[start..start + length]), Ordering::Equal);
            }
        }
    }
}
