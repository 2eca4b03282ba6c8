"""Host time of a training step that is not the model's."""

import io
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from gigp.lab.training.callbacks import StopOnNaN
from gigp.lab.training.progress import ProgressLine
from scripts.benchmark.loop import loop_cost


@pytest.mark.slow
def test_a_run_costs_at_most_twice_a_bare_loop_more():
    """Processor time of an empty model; the figure in milliseconds is in docs/speed.md."""
    found = [loop_cost(torch.device("cpu"), steps=400) for _ in range(3)]
    print(found)
    assert min(x["cost"] / x["bare"] for x in found) < 2


class CountedLoss:
    """A loss on a device that counts how often the host reads it."""

    device = torch.device("cuda")
    reads = 0

    def __float__(self) -> float:
        self.reads += 1
        return 1.0


def test_callbacks_do_not_read_the_loss_of_every_step():
    trainer = SimpleNamespace(
        global_step=0, current_epoch=0, max_epochs=1, estimated_stepping_batches=1000
    )
    loss = CountedLoss()
    bar = ProgressLine(Console(file=io.StringIO(), force_terminal=True))
    bar.on_train_start(trainer, None)
    for step in range(1000):
        trainer.global_step = step
        for callback in (bar, StopOnNaN()):
            callback.on_train_batch_end(trainer, None, {"loss": loss}, None, step)
    bar.teardown(trainer, None, "fit")
    assert 1 <= loss.reads < 20
