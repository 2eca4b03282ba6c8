"""bfloat16 beside single precision: what stays in single precision, and equal accuracy."""

import statistics

import pytest
import torch

from gigp.lab.runs.folder import RunFolder
from gigp.lab.training.build import build
from gigp.lab.training.run import run
from gigp.nn.norm import BatchNorm
from tests.conftest import tiny

SIZES = tiny(epochs=1, train=75, val=20, test=20)


@pytest.mark.parametrize("dataset", ["qm9", "rotmnist"])
def test_losses_and_batch_norm_stay_in_single_precision(configure, dataset, tmp_path):
    """While the products of the network are in bfloat16."""
    cfg = configure(f"dataset={dataset}", "pool=mean", "trainer.precision=bf16-mixed", *SIZES)
    parts = build(cfg, RunFolder(tmp_path, "it", 0))
    seen = {"outputs": [], "losses": []}
    model, loss = parts.module.model, parts.module.loss
    model.register_forward_hook(lambda *x: seen["outputs"].append(x[-1].dtype))

    def observed(output, target):
        value = loss(output, target)
        seen["losses"].append(value.dtype)
        return value

    parts.module.loss = observed
    parts.trainer.fit(parts.module, datamodule=parts.data)
    assert torch.bfloat16 in seen["outputs"]
    assert {*seen["losses"]} == {torch.float32}
    norms = [m for m in model.modules() if isinstance(m, BatchNorm)]
    assert norms
    for norm in norms:
        assert norm.running_mean.dtype == norm.running_var.dtype == torch.float32
        assert norm.running_var.isfinite().all()
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_accuracy_is_the_same(configure):
    """Within the noise of three seeds, on 1,000 molecules."""
    sizes = tiny(epochs=4, train=1000, val=300, test=1000)

    def error(*overrides: str) -> float:
        return run(configure("pool=gigp", *overrides, *sizes)).metrics["homo"].test

    errors = {
        precision: [
            error(f"trainer.precision={precision}", f"name={precision}", f"seed={seed}")
            for seed in range(3)
        ]
        for precision in ("32-true", "bf16-mixed")
    }
    print(errors)
    single, half = errors.values()
    noise = (statistics.variance(single) / 3 + statistics.variance(half) / 3) ** 0.5
    assert abs(statistics.mean(half) - statistics.mean(single)) < 3 * noise
    assert statistics.mean(half) < 1.05 * statistics.mean(single)
