"""What being careful costs: the time in checksums, searches for NaN, syncs to the disk and checks,
within one run.
"""

import functools
import os
import time

import pytest

import gigp.lab.training.run as running
from gigp.lab.config import instantiate as config
from gigp.lab.data import cache, sampler
from gigp.lab.molecules import qm9
from gigp.lab.runs import checkpoints, folder, lock
from gigp.lab.training import trainer
from gigp.lab.training.run import run
from tests.conftest import tiny

# owner, function; of the atomic writes only the syncs and renames count, a careless writer would
# write as well
CAREFUL = [
    (cache, "read"),  # SHA-256 of the cache; a careless reader would map the file
    (qm9, "hash_arrays"),  # SHA-256 of the arrays
    (sampler, "check_finite"),  # of every batch
    (running, "check_settings"),
    (config, "check_targets"),
    (os, "fsync"),
    (os, "replace"),
    (checkpoints, "pack_tensors"),
    (trainer, "training_state"),  # every tensor of it
    (folder.RunFolder, "_recover"),
    (lock, "_lock"),
]


@pytest.mark.slow
def test_share_of_a_small_run(configure, qm9, monkeypatch):
    """Of a run of 5,000 molecules for 3 epochs; a real one is longer, and what is done once counts
    less there.
    """
    spent: dict[str, float] = {}
    inside = []

    def timed(name, function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            if inside:
                return function(*args, **kwargs)
            inside.append(1)
            before = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] = spent.get(name, 0) + time.perf_counter() - before
                inside.pop()

        return call

    for owner, name in CAREFUL:
        monkeypatch.setattr(owner, name, timed(name, getattr(owner, name)))
    sizes = [o for o in tiny(epochs=3, train=5000, val=500, test=500) if not o.startswith("scale=")]
    cfg = configure("dataset=qm9", "scale=small", *sizes, "name=it")
    before = time.perf_counter()
    run(cfg)
    total = time.perf_counter() - before
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{name:14} {1000 * seconds:8.1f} ms")
    print(f"{sum(spent.values()):.3f} s of {total:.1f} s: {sum(spent.values()) / total:.2%}")
    assert len(spent) == len(CAREFUL)
    assert sum(spent.values()) < 0.02 * total
