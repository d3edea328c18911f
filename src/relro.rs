//! RELRO: what was relocated at the start is read-only from then on, as ld.so sees to it for a dynamic program. The start code of musl
//! leaves a static PIE's writable: its vtables and other constant pointers, through which whoever can write a word of memory gets to run
//! code of their choice.

use std::{
    ffi::{c_int, c_void},
    io, ptr,
};

use libc::{dl_iterate_phdr, dl_phdr_info, mprotect, sysconf};

/// Makes it so. First in `main`: no other thread runs that could look at these pages between two states.
pub fn protect() -> io::Result<()> {
    // SAFETY: a static program has one object, itself, for which `of_object` is called with what the kernel told of it.
    match unsafe { dl_iterate_phdr(Some(of_object), ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

unsafe extern "C" fn of_object(object: *mut dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: `object` and its program headers outlive the call.
    let (address, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    let Some(relro) = headers.iter().find(|header| header.p_type == libc::PT_GNU_RELRO) else { return 0 };
    // SAFETY: asks for a number.
    let whole_pages = !(unsafe { sysconf(libc::_SC_PAGESIZE) } as u64 - 1);
    let start = (address + relro.p_vaddr) & whole_pages;
    let end = (address + relro.p_vaddr + relro.p_memsz) & whole_pages;
    // SAFETY: the linker put in this segment what only relocation writes, and that is over.
    unsafe { mprotect(start as *mut c_void, (end - start) as usize, libc::PROT_READ) }
}
