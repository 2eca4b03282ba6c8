"""The peak of a run is its own, and a run leaves nothing behind."""

import gc
import subprocess
import sys
import weakref
from contextlib import suppress

import pytest
import torch

import gigp.lab.training.run as running
from gigp.errors import InputError
from gigp.lab.runs.memory import peak_memory_mb, release_memory, reset_peak_memory
from gigp.lab.training.build import build
from gigp.lab.training.run import run
from tests.conftest import tiny

SMALL = tiny(epochs=1, train=60, val=30, test=30)
CODE = """
import torch
from gigp.lab.runs.memory import peak_memory_mb, reset_peak_memory
block = torch.ones(60_000_000)  # 240 MB
print(peak_memory_mb())
del block
reset_peak_memory()
print(peak_memory_mb())
block = torch.ones(30_000_000)
print(peak_memory_mb())
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or torch.cuda.is_available(), reason="reads /proc"
)
@pytest.mark.slow
def test_peak_counts_from_the_reset():
    """In a process of its own: what other tests freed, this one's process may still hold."""
    out = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    ).stdout
    with_block, before, with_half = map(float, out.split())
    assert before < with_block - 200
    assert with_half > before + 80


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or torch.cuda.is_available(), reason="reads /proc"
)
def test_a_small_run_after_a_large_one_records_its_own_peak(configure):
    sizes = tiny(epochs=1, train=4000, val=30, test=30)
    release_memory()
    reset_peak_memory()
    before = peak_memory_mb()
    large = run(configure("dataset=orbits", *sizes, "dataset.batch_size=4000", "name=large"))
    small = run(configure("dataset=orbits", *SMALL, "name=small"))
    extra = large.peak_memory_mb - before
    assert extra > 200
    assert small.peak_memory_mb < before + extra / 2


def test_a_run_leaves_no_objects_to_the_next(configure, monkeypatch):
    """Whether it has succeeded or failed."""
    earlier: list[weakref.ref] = []
    alive = []

    def watched(*args, **kwargs):
        alive.append([ref() for ref in earlier])
        parts = build(*args, **kwargs)
        earlier.extend(map(weakref.ref, (parts.data, parts.module.model, parts.trainer)))
        return parts

    monkeypatch.setattr(running, "build", watched)
    gc.disable()  # or Python may happen to have looked for them already
    try:
        run(configure("dataset=orbits", *SMALL, "name=first"))
        with suppress(InputError):
            run(configure("dataset=orbits", *SMALL, "lr=1e30", "name=fails"))
        run(configure("dataset=orbits", *SMALL, "name=last"))
    finally:
        gc.enable()
    assert alive == [[], [None] * 3, [None] * 6]
