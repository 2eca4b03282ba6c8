"""The peak counts from the reset on."""

import sys

import pytest
import torch

from gigp.memory import peak_memory_mb, reset_peak_memory


@pytest.mark.skipif(not sys.platform.startswith("linux") or torch.cuda.is_available(), reason="reads /proc")
def test_peak_counts_from_the_reset():
    block = torch.ones(60_000_000)  # 240 MB
    with_block = peak_memory_mb()
    del block
    reset_peak_memory()
    before = peak_memory_mb()
    assert before < with_block - 200
    block = torch.ones(30_000_000)
    assert peak_memory_mb() > before + block.nbytes / 1e6 - 40
