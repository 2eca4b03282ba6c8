"""What the training loop itself costs: host time of a step of a model that computes nothing."""

import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from gigp.lab.config.compose import compose_config
from gigp.lab.runs.folder import RunFolder
from gigp.lab.training.build import RunParts, build
from gigp.lab.training.module import cosine
from gigp.pointcloud import PointCloud

BATCH = 4
WARMUP = 50  # steps before the clock starts


class EmptyModel(nn.Module):
    """One weight for the optimizer; outputs (B, 1) without any work on the cloud."""

    out_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, cloud: PointCloud) -> Tensor:
        return self.weight.expand(len(cloud.feat), 1)


class StepClock(L.Callback):
    """Processor time of the training steps of one epoch, in seconds a step."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seconds = steps, 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        if i + 1 == WARMUP:
            self.start = time.process_time()
        if i + 1 == self.steps:
            self.seconds = (time.process_time() - self.start) / (self.steps - WARMUP)


def loop_cost(device: torch.device, steps: int = 1000) -> dict[str, float]:
    """Processor time of a step of an empty model, in ms: `run`, with Lightning and the callbacks of
    a run; `bare`, batch, loss, backward, Adam and schedule alone; `cost`, the difference.

    Args:
        device: device of data and model.
        steps: length of the epoch.
    """
    with tempfile.TemporaryDirectory() as folder:
        parts = build_empty_run(device, steps, Path(folder))
        clock = StepClock(steps)
        parts.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        parts.trainer.fit(parts.module, datamodule=parts.data)
        bare = min(bare_step(parts, device, steps) for _ in range(2))
    return {"run": 1e3 * clock.seconds, "bare": 1e3 * bare, "cost": 1e3 * (clock.seconds - bare)}


def build_empty_run(device: torch.device, steps: int, folder: Path) -> RunParts:
    """A run of one epoch as the command line builds it, with an empty model."""
    sizes = (("train", steps * BATCH), ("val", 10), ("test", 10))
    cfg = compose_config(
        [
            "dataset=orbits",
            "pool=gigp",
            "scale=debug",
            "logger=csv",
            *(f"dataset.{part}_size={size}" for part, size in sizes),
            f"dataset.batch_size={BATCH}",
            "trainer.max_epochs=1",
            f"trainer.accelerator={'cpu' if device.type == 'cpu' else 'gpu'}",
        ]
    )
    parts = build(cfg, RunFolder(folder, "empty", 0))
    parts.module.model = EmptyModel()  # type: ignore[assignment]
    return parts


def bare_step(parts: RunParts, device: torch.device, steps: int) -> float:
    """Processor time of a step of the same model in a loop of its own, in seconds."""
    data, module = parts.data, parts.module.to(device).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=module.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: cosine(i / steps, 0.0))
    start = 0.0
    for i, fetched in enumerate(data.train_dataloader()):
        if i == WARMUP:
            start = time.process_time()
        cloud, target = data.prepare_batch(fetched, data.augment)
        loss = module.loss(module.model(cloud), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return (time.process_time() - start) / (steps - WARMUP)
