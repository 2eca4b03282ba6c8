"""The peak counts from the reset on."""

import subprocess
import sys

import pytest
import torch

CODE = """
import torch
from gigp.training.memory import peak_memory_mb, reset_peak_memory
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
def test_peak_counts_from_the_reset():
    """In a process of its own: what other tests freed, this one's process may still hold."""
    out = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    ).stdout
    with_block, before, with_half = map(float, out.split())
    assert before < with_block - 200
    assert with_half > before + 80
