"""native.c is compiled once, safely, and computes the same bits for any number of threads."""

import ctypes
import logging
import os
import platform
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gigp.backbones.lieconv import native
from gigp.backbones.lieconv.blocks import Pairs, all_pairs
from gigp.backbones.lieconv.kernel import KernelMLP
from gigp.backbones.lieconv.layer import LieConv
from gigp.backbones.lieconv.neighborhood import TableNeighborhood
from gigp.groups import SE3

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
needs_native = pytest.mark.skipif(native.library() is None, reason=native.native_status())


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache, as in a new process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GIGP_NATIVE", raising=False)
    native._load.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    native._load.cache_clear()


@pytest.fixture
def quick_compiler(fresh, monkeypatch) -> Callable[[float], Path]:
    """Makes a compiler that takes a given time to copy what the real one has made, in two pieces.

    Returns the file that lists its calls.
    """
    monkeypatch.delenv("XDG_CACHE_HOME")
    compiled = Path(native.load_library()._name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "cache"))

    def make(seconds: float) -> Path:
        script, calls = fresh / "compiler", fresh / "calls"
        script.write_text(
            f'#!/bin/sh\necho x >> {calls}\nhead -c 1000 {compiled} > "$3"\nsleep {seconds}\n'
            f'cp {compiled} "$3"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("CC", str(script))
        return calls

    return make


def cached_files() -> list[Path]:
    return sorted(native.cache_folder().glob("*"))


@needs_compiler
def test_compiled_once_and_found_again(quick_compiler):
    calls = quick_compiler(0)
    for _ in range(2):
        native._load.cache_clear()
        assert native.native_status().startswith("native (")
    assert calls.read_text().split() == ["x"]
    assert len(cached_files()) == 1


@needs_compiler
@pytest.mark.parametrize("damage", ["cut off", "a bit", "empty"])
def test_a_damaged_file_is_compiled_again(quick_compiler, damage):
    calls = quick_compiler(0)
    path = Path(native.load_library()._name)
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[5000] ^= 1
    path.unlink()  # the loaded file stays as it is
    path.write_bytes({"cut off": content[:5000], "a bit": content, "empty": b""}[damage])
    assert not native.is_intact(path)
    assert native.load_library().kernel_mlp_forward
    assert native.is_intact(path)
    assert calls.read_text().split() == ["x", "x"]


@needs_compiler
def test_several_compile_at_once(quick_compiler):
    """Nobody ever sees a file that is not whole."""
    quick_compiler(0.2)
    seen, stop = [], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.extend(native.is_intact(path) for path in native.cache_folder().glob("*.so"))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    workers = [threading.Thread(target=native.load_library) for _ in range(4)]
    watcher.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    time.sleep(0.02)
    stop.set()
    watcher.join()
    assert seen
    assert all(seen)
    assert [path.suffix for path in cached_files()] == [".so"]


@needs_compiler
@pytest.mark.slow
def test_killed_while_compiling(quick_compiler):
    """What a killed process leaves behind is not used."""
    calls = quick_compiler(60)
    code = "from gigp.backbones.lieconv import native; native.load_library()"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    while not calls.exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(native.cache_folder().glob("*.so"))
    quick_compiler(0)
    assert native.load_library().kernel_mlp_forward


@needs_compiler
@pytest.mark.slow
def test_processes_that_start_at_once_with_the_real_compiler(fresh):
    code = "from gigp.backbones.lieconv import native; print(native.native_status())"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate()[0] for process in processes}
    assert said == {native.native_status() + "\n"}
    assert len(cached_files()) == 1


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("/nowhere/cc", "there is no C compiler '/nowhere/cc'; set CC to one"),
        ("false", "false cannot compile native.c: exit 1"),
    ],
)
def test_without_a_compiler_plain_pytorch_and_one_line(
    fresh, monkeypatch, caplog, compiler, reason
):
    monkeypatch.setenv("CC", compiler)
    mlp = KernelMLP([3, 32, 32, 16])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert "Native" not in type(mlp(torch.randn(9, 3)).grad_fn).__name__
    assert [record.getMessage().endswith(reason) for record in caplog.records] == [True]
    assert native.native_status() == f"plain PyTorch ({reason})"
    assert cached_files() == []


def make_link(cache: Path) -> None:
    (cache.parent / "elsewhere").mkdir()
    cache.symlink_to(cache.parent / "elsewhere")


BAD_CACHES = {
    "a file": (Path.touch, "you alone may write to"),
    "a link": (make_link, "you alone may write to"),
    "open to others": (lambda cache: (cache.mkdir(), cache.chmod(0o777)), "you alone may write to"),
    "of another user": (
        lambda cache: (cache.mkdir(), os.chown(cache, 12345, 12345)),
        "you alone may write to",
    ),
    "below a folder of others": (lambda cache: cache.parent.chmod(0o777), "others may write to"),
}


@needs_compiler
@pytest.mark.skipif(os.getuid() != 0, reason="folders of other users need root")
@pytest.mark.parametrize("kind", BAD_CACHES)
def test_a_cache_that_cannot_be_trusted_is_not_used(quick_compiler, caplog, kind):
    """Its file, whole as it is, is not loaded: the code is compiled for this process alone."""
    calls, cache = quick_compiler(0), native.cache_folder()
    cache.parent.mkdir(exist_ok=True)
    make, reason = BAD_CACHES[kind]
    make(cache)
    for _ in range(2):
        assert native.load_library().kernel_mlp_forward
    assert calls.read_text().split() == ["x", "x"]
    assert cache.is_file() or not cache.exists() or not list(cache.iterdir())
    assert [reason in record.getMessage() for record in caplog.records] == [True] * 2


@needs_compiler
@pytest.mark.parametrize("kind", ["pipe", "link", "writable"])
def test_a_file_that_cannot_be_trusted_is_compiled_again(quick_compiler, kind):
    calls = quick_compiler(0)
    path = Path(native.load_library()._name)
    if kind == "writable":
        path.chmod(0o722)
    else:
        path.rename(path.with_suffix(".old"))
        os.mkfifo(path) if kind == "pipe" else path.symlink_to(path.with_suffix(".old"))
    assert not native.is_intact(path)
    assert native.load_library().kernel_mlp_forward
    assert calls.read_text().split() == ["x", "x"]
    assert path.is_file()
    assert not path.is_symlink()


@needs_compiler
def test_a_library_without_the_functions(quick_compiler, monkeypatch):
    quick_compiler(0)
    monkeypatch.setattr(native, "NAMES", SimpleNamespace(findall=lambda _: ["sums"]))
    assert "lacks sums; delete it" in native.native_status()


def test_folders_of_the_environment_are_absolute(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", "there")
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert native.cache_folder() == home / ".cache" / "gigp"


@needs_compiler
def test_a_compiler_of_several_words(quick_compiler, monkeypatch):
    quick_compiler(0)
    monkeypatch.setenv("CC", f"env {os.environ['CC']}")
    assert native.load_library().kernel_mlp_forward
    monkeypatch.setenv("CC", "cc '")
    assert "is no command" in native.native_status()


@needs_compiler
def test_what_killed_compilers_left_goes(quick_compiler):
    quick_compiler(0)
    cache = native.make_private(native.cache_folder())
    old, young = cache / "compiling-old", cache / "compiling-young"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    native.load_library()
    assert young.exists()
    assert not old.exists()


def test_installed_without_the_source(fresh, monkeypatch):
    monkeypatch.setattr(native, "SOURCE", fresh / "native.c")
    assert native.native_status().endswith("native.c is missing; install gigp again)")


@pytest.mark.parametrize("value", ["0", "no", "OFF"])
def test_turned_off(fresh, monkeypatch, caplog, value):
    monkeypatch.setenv("GIGP_NATIVE", value)
    assert not native.use_native(torch.zeros(1))
    assert native.native_status() == f"plain PyTorch (GIGP_NATIVE={value})"
    assert not caplog.records


@needs_compiler
def test_another_architecture_is_another_file(fresh, monkeypatch):
    """The compiler is asked for it, and what it does not know is said."""
    monkeypatch.setenv("GIGP_NATIVE_ARCH", "pdp11")
    assert re.match(r"plain PyTorch \(cc cannot compile native\.c: .*pdp11", native.native_status())


def test_key_depends_on_what_is_compiled(monkeypatch):
    keys = {native.cache_key("cc", native.FLAGS), native.cache_key("clang", native.FLAGS)}
    keys.add(native.cache_key("cc", (*native.FLAGS, "-g")))
    monkeypatch.setattr(native, "processor_features", lambda: "another processor")
    keys.add(native.cache_key("cc", native.FLAGS))
    assert len(keys) == 4


@needs_compiler
def test_no_second_openmp(fresh):
    """The threads are PyTorch's own: those of a second library would compete with them."""
    loaded = {
        line.split(maxsplit=5)[-1].strip()
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libgomp" in line or "libomp" in line
    }
    assert len(loaded) == 1


def step(layer: LieConv, where: TableNeighborhood, feat: torch.Tensor) -> list[torch.Tensor]:
    """Outputs and gradients."""
    feat = feat.clone().requires_grad_()
    layer.zero_grad()
    out = layer(feat, where)
    out.square().sum().backward()
    return [out.detach(), feat.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


@needs_native
def test_same_bits_for_every_run():
    torch.manual_seed(0)
    where = TableNeighborhood(torch.randn(20 * 18 * 18, 3), [(20, 18, 18)])
    layer, feat = LieConv(64, 64, 3), torch.randn(20 * 18, 1, 64)
    first = step(layer, where, feat)
    for _ in range(3):
        for mine, other in zip(first, step(layer, where, feat), strict=True):
            assert torch.equal(mine, other)


@needs_native
def test_kernel_has_the_same_bits_for_any_number_of_threads():
    torch.manual_seed(0)
    mlp, x = KernelMLP([3, 32, 32, 16]), torch.randn(5000, 3)
    found, before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        mlp.zero_grad()
        out = mlp(x)
        out.square().sum().backward()
        found.append([out, *(p.grad for p in mlp.parameters() if p.grad is not None)])
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def pair_rows(motions: torch.Tensor) -> Pairs:
    return all_pairs(SE3(), motions, motions[..., :0, 0])


def random_motions(*shape: int) -> torch.Tensor:
    """Several Angstrom apart; the first two of every cloud are the same, the third is close."""
    group = SE3()
    motions = group.random(*shape, dtype=torch.float64)
    motions[..., :3, 3] *= 3
    if shape[-1] > 2:
        motions[..., 1, :, :] = motions[..., 0, :, :]
        small = 1e-3 * torch.randn(6, dtype=torch.float64)
        motions[..., 2, :, :] = motions[..., 0, :, :] @ group.exp(small)
    return motions


@needs_native
@pytest.mark.parametrize("num", [1, 3, 16, 37])
def test_pairs_of_motions(num, monkeypatch):
    """native.c agrees with the definition in double precision, passes NaN on to its own cloud, and
    is not asked where gradients are wanted.
    """
    torch.manual_seed(0)
    motions = random_motions(4, num)
    calls: list[str] = []
    original = native.call
    monkeypatch.setattr(
        "gigp.backbones.lieconv.blocks.call",
        lambda name, *rest: (calls.append(name), original(name, *rest)),
    )
    found, expected = pair_rows(motions.float()), pair_rows(motions)
    assert calls == ["motion_pairs"]
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=0, atol=1e-4)
        assert (mine - other).abs().mean() < 2e-6
    bad = motions.float()
    bad[1, 0, 0, 3], bad[2, num - 1, 1, 1] = torch.nan, torch.nan
    missing = pair_rows(bad).distance.isnan()
    assert missing[1, 0].all()
    assert missing[2, :, -1].all()
    assert missing.sum() == 2 * (2 * num - 1)
    assert pair_rows(motions.float().requires_grad_()).inputs.requires_grad
    assert calls == ["motion_pairs"] * 2


@needs_native
@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86")
@pytest.mark.parametrize("march", ["haswell", "x86-64"])
def test_other_vectors(march, monkeypatch):
    """Of 256 bits, as on processors with AVX2 alone, and as compilers emulate them elsewhere."""
    bits = ctypes.c_int64.in_dll(native.library(), "vector_bits").value
    torch.manual_seed(0)
    where = TableNeighborhood(torch.randn(4 * 9 * 9, 3), [(4, 9, 9)])
    layer, feat = LieConv(70, 8, 3), torch.randn(36, 1, 70)
    motions = random_motions(3, 21).float()
    expected = [*step(layer, where, feat), *pair_rows(motions)]
    monkeypatch.setenv("GIGP_NATIVE_ARCH", march)
    library = native.load_library()
    assert ctypes.c_int64.in_dll(library, "vector_bits").value == 256 <= bits
    monkeypatch.setattr(native, "library", lambda: library)
    found = [*step(layer, where, feat), *pair_rows(motions)]
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
