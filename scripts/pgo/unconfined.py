#!/usr/bin/env python3
"""Runs COMMAND where the kernel knows neither seccomp nor Landlock: the gateway then goes without its walls, and says so.

    unconfined.py COMMAND [ARGUMENT...]

Only for an instrumented program, which writes what it counted when it ends: the walls keep it from that file. Files are made for all to
write, for the processes of the warden are different users. As root, on x86-64.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
ALLOW, NOT_IMPLEMENTED = 0x7FFF0000, 0x00050000 | 38  # SECCOMP_RET_ERRNO with ENOSYS
REFUSED = [317, 444, 445, 446]  # seccomp, landlock_create_ruleset, landlock_add_rule, landlock_restrict_self


def main():
    rules = [(LOAD, 0, 0, 0)]
    for at, number in enumerate(REFUSED):
        rules.append((EQUAL, len(REFUSED) - at, 0, number))
    rules += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOT_IMPLEMENTED)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    filter_ = struct.pack("@HP", len(rules), ctypes.addressof(program))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0) != 0:
        sys.exit(f"no filter of system calls: {os.strerror(ctypes.get_errno())}; run it as root")
    os.umask(0)
    os.execv(sys.argv[1], sys.argv[1:])


main()
