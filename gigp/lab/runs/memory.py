"""Memory of the process: its peak during a run, reuse and release of freed blocks."""

import ctypes
import gc
import resource
from contextlib import suppress
from pathlib import Path

import torch


def release_memory() -> None:
    """Free the objects of an earlier run, and give their memory back to the system.

    The trainer, the module and the data of a run refer to each other, so they stay until Python
    looks for such cycles; and `keep_freed_memory` keeps what is freed. Without this the memory of a
    sweep grows, and each run reports that of the runs before it.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def reset_peak_memory() -> None:
    """Count the peak from here on, so that a run of a sweep does not report an earlier one's."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not on Linux, or not allowed: use the peak of the whole process
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Most memory held since `reset_peak_memory`: on the GPU where there is one, else of this
    process.
    """
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for the next step, which asks for the same sizes again.

    It gives large blocks back to the system otherwise, and the system clears their pages in every
    step: a third of the time of a training step on two cores, and more for images. Other C
    libraries do without.
    """
    trim_threshold, mmap_max = -1, -4  # malloc.h
    libc = _glibc()
    if libc is None:
        return
    libc.mallopt(trim_threshold, 2**31 - 1)  # never shrink the heap
    # and put every block on it: those of 32 MB and more are not otherwise
    libc.mallopt(mmap_max, 0)


def _glibc() -> ctypes.CDLL | None:
    """The GNU C library, or None where Python uses another one."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):
        return None
