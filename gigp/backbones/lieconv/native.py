"""Compile and call native.c, which computes the hot loops of LieConv on a CPU.

The file is compiled on first use with `$CC` or `cc` into the user's cache, for this processor, or
for what `GIGP_NATIVE_ARCH` in the environment names to `-march`, such as `x86-64-v3`. A cache that
anybody else could write to is not used: each process then compiles for itself. Without a compiler,
or with `GIGP_NATIVE=0`, plain PyTorch computes the same.
"""

import ctypes
import hashlib
import logging
import os
import platform
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gigp.backbones.lieconv.native_cache import (
    CacheError,
    NativeError,
    add_digest,
    cache_folder,
    delete_abandoned,
    is_intact,
    make_private,
)
from gigp.nn.linear import use_cpu_kernels

SOURCE = Path(__file__).with_name("native.c")
FLAGS = (
    *("-O3", "-ffp-contract=fast", "-fno-math-errno", "-std=gnu11"),
    *("-fopenmp", "-fPIC", "-shared"),
)
NAMES = re.compile(r"^(?:int|const int64_t) (\w+)", re.MULTILINE)  # of what the source exports
OFF = ("0", "no", "off", "false")  # values of GIGP_NATIVE
log = logging.getLogger(__name__)
_use_plain = False


@contextmanager
def plain_pytorch() -> Iterator[None]:
    """Compute by plain PyTorch inside the block."""
    global _use_plain
    before, _use_plain = _use_plain, True
    try:
        yield
    finally:
        _use_plain = before


def use_native(*tensors: Tensor) -> bool:
    """Whether native.c may compute with these tensors: single precision on a CPU, in eager mode."""
    return (
        not _use_plain
        and all(x.dtype == torch.float32 and use_cpu_kernels(x) for x in tensors)
        and library() is not None
    )


def native_status() -> str:
    """The code that computes the hot loops of LieConv on the CPU, for a run's record."""
    return _load()[1]


def library() -> ctypes.CDLL | None:
    """The compiled file; None where it cannot be used."""
    return _load()[0]


def call(name: str, *arguments: Tensor | list[Tensor] | int) -> None:
    """Call a function of native.c with as many threads as PyTorch uses.

    Args:
        name: name of the function.
        arguments: contiguous tensors and lists of them, passed as pointers, and integers.

    Raises:
        MemoryError: the function found no memory.
    """
    loaded = library()
    assert loaded is not None
    converted = [_convert(x) for x in (*arguments, torch.get_num_threads())]
    if loaded[name](*converted) != 0:
        raise MemoryError(f"no memory for {name} of {SOURCE.name}.")


def _convert(x: Tensor | list[Tensor] | int) -> Any:
    if isinstance(x, Tensor):
        assert x.is_contiguous()
        return ctypes.c_void_p(x.data_ptr())
    if isinstance(x, list):
        return (ctypes.c_void_p * len(x))(*(_convert(t) for t in x))
    return ctypes.c_int64(x)


@cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    """The compiled file or None, and its status in words."""
    if (chosen := os.environ.get("GIGP_NATIVE", "1")).strip().lower() in OFF:
        return None, f"plain PyTorch (GIGP_NATIVE={chosen})"
    try:
        loaded = load_library()
    except NativeError as error:
        log.warning("LieConv runs on plain PyTorch, up to twice as slow: %s", error)
        return None, f"plain PyTorch ({error})"
    return loaded, f"native ({ctypes.c_int64.in_dll(loaded, 'vector_bits').value}-bit vectors)"


def load_library(flags: tuple[str, ...] = FLAGS) -> ctypes.CDLL:
    """Load the compiled file from the cache, after compiling it where it is missing or damaged;
    where the cache cannot be used, from a folder of this process, which goes at once.

    Raises:
        NativeError: the source is missing, or cannot be compiled, stored or loaded.
    """
    if not SOURCE.exists():
        raise NativeError(f"{SOURCE} is missing; install gigp again")
    arch = os.environ.get("GIGP_NATIVE_ARCH") or "native"
    flags = (f"-march={arch}", *flags, *openmp_of_torch())
    compiler = os.environ.get("CC") or "cc"
    name = f"lieconv-{cache_key(compiler, flags)}.so"
    try:
        return _load_from(make_private(cache_folder()) / name, compiler, flags)
    except CacheError as error:
        log.warning("LieConv is compiled anew in every process: %s", error)
    try:
        with tempfile.TemporaryDirectory(prefix="gigp-") as folder:
            return _load_from(Path(folder) / name, compiler, flags)
    except OSError as error:
        raise NativeError(f"{tempfile.gettempdir()} cannot be written: {error}") from error


def _load_from(path: Path, compiler: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """Load a compiled file, after compiling it where it is not whole."""
    if not is_intact(path):
        compile_to(path, compiler, flags)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"{path} cannot be loaded: {error}") from error
    if lacking := [name for name in NAMES.findall(SOURCE.read_text()) if not hasattr(loaded, name)]:
        raise CacheError(f"{path} lacks {lacking[0]}; delete it")
    return loaded


def cache_key(compiler: str, flags: tuple[str, ...]) -> str:
    """A name by all that a compiled file depends on: source, compiler, flags and processor."""
    parts = [SOURCE.read_text(), compiler, *flags, platform.machine(), processor_features()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def processor_features() -> str:
    """Instruction sets of the processor, which -march=native uses; empty where unknown."""
    with suppress(OSError):  # /proc exists on Linux only
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = ("flags", "Features", "model name")
        return "\n".join(sorted({line for line in lines if line.startswith(names)}))
    return platform.processor()


def openmp_of_torch() -> tuple[str, ...]:
    """Linker options for the OpenMP library that PyTorch has loaded: with a second one, the threads
    of both would compete for the cores.
    """
    with suppress(OSError):  # /proc exists on Linux only
        for line in Path("/proc/self/maps").read_text().splitlines():
            path = line.split(maxsplit=5)[-1]
            if Path(path).name.startswith("libgomp"):
                return "-Wl,--as-needed", path
    return ()


def compile_to(path: Path, compiler: str, flags: tuple[str, ...]) -> None:
    """Compile native.c, and put it in its place in one step: other processes, which may do the same
    at the same time, see a complete file or none.

    Raises:
        NativeError: no compiler, or an error of the compiler.
        CacheError: a folder that cannot be written.
    """
    try:
        words = shlex.split(compiler)
    except ValueError as error:
        raise NativeError(f"CC={compiler} is no command ({error})") from error
    try:
        delete_abandoned(path.parent)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="compiling-") as folder:
            out = Path(folder) / path.name
            # libraries come after what needs them
            command = [*words, str(SOURCE), "-o", str(out), *flags, "-lm"]
            log.info("compiling %s: %s", SOURCE.name, " ".join(command))
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise NativeError(f"there is no C compiler {compiler!r}; set CC to one") from error
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[0]
                raise NativeError(f"{compiler} cannot compile {SOURCE.name}: {reason}")
            add_digest(out)
            out.replace(path)
    except OSError as error:
        raise CacheError(f"{path.parent} cannot be written: {error}") from error
