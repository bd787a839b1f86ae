"""What glibc's allocator does with freed memory, told to it where what it does by itself is dear.

It asks the kernel for large blocks and gives them back when they are freed. A request with a body of
300 KB does so some times, and what each page costs to get anew, 200 of them, was half of what it took.
Many small ones it keeps, also when nothing will want them again.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging

log = logging.getLogger("skfleet.allocator")

# mallopt's names for them, in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
HEAP_BYTES = 4 * 1024 * 1024  # blocks below are the heap's: the largest body, unless set otherwise
KEPT_BYTES = 8 * 1024 * 1024  # free at the heap's end; above it the kernel gets them back


def keep_freed() -> bool:
    """Keep what is freed for what comes next; False with a C library that has no `mallopt`."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        log.debug("this C library's allocator is left as it is")
        return False
    kept = mallopt(M_MMAP_THRESHOLD, HEAP_BYTES) and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(kept)


def give_back() -> None:
    """Return to the kernel whatever is free."""
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
