"""Lightning modules: loss, metrics in physical units, optimizer and schedule."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.distributed import gather_rows, shard_batch, world_size
from gigp.errors import InputError
from gigp.lab.lightning_bases import LightningModule
from gigp.lab.model import PointCloudModel
from gigp.lab.runs.checks import trained_parameters
from gigp.lab.training.compile import CompiledForward
from gigp.pointcloud import PointCloud

if TYPE_CHECKING:
    from torchmetrics import Metric

Batch = tuple[PointCloud, Tensor]


class LitModule(LightningModule):
    """Train a model with Adam; log `train/loss`, `val/loss` and one metric for each target, in its
    unit.

    Args:
        model: maps clouds to outputs (B, T).
        units: unit of each metric by name.
        lr: learning rate.
        warmup: fraction of the run over which the rate grows linearly; a cosine takes it to 0 at
            the end.
        freeze_backbone: leave the backbone as it is, its batch norm included.

    Attributes:
        compiled: the model's forward pass, where it is compiled.
        samples: results of every test sample after a test, in the order of the test set; see
            `sample_results`.
    """

    losses: Any  # by part, as the metrics
    metrics: Any

    def __init__(
        self,
        model: PointCloudModel,
        units: dict[str, str],
        lr: float = 3e-3,
        warmup: float = 0.0,
        freeze_backbone: bool = False,
    ) -> None:
        super().__init__()
        if not lr > 0 or not 0 <= warmup <= 1:
            raise InputError(
                f"lr={lr}, warmup={warmup}: lr must be positive, warmup a fraction of the run."
            )
        self.model, self.units, self.lr, self.warmup = model, units, lr, warmup
        self.frozen = freeze_backbone
        self.compiled: CompiledForward | None = None
        if freeze_backbone:
            model.backbone.requires_grad_(False)
        self.samples: dict[str, np.ndarray] = {}
        self._test_batches: list[dict[str, Tensor]] = []
        self.train()

    def setup(self, stage: str) -> None:
        """Make the metrics, before training or a test; predictions need none, and load faster."""
        if hasattr(self, "metrics"):
            return
        from gigp.lab.training.metrics import SampleMean

        self.metrics = nn.ModuleDict({part: self.make_metrics() for part in ("val", "test")})
        self.losses = nn.ModuleDict({part: SampleMean() for part in ("val", "test")})
        self.train_loss = SampleMean()

    def make_metrics(self) -> "Metric":
        """A metric that takes predictions and targets in physical units."""
        raise NotImplementedError

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of raw outputs of the model."""
        raise NotImplementedError

    def denormalize(self, output: Tensor) -> Tensor:
        """Predictions in the units of the data module."""
        raise NotImplementedError

    def metric_dict(self, value: Tensor) -> dict[str, Tensor]:
        """The values of a computed metric by name, in the units of tables."""
        raise NotImplementedError

    def sample_results(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The results of every test sample that are kept, one row each.

        Args:
            output: raw outputs of the model, (B, C).
            target: (B, T), or classes (B,).
        """
        raise NotImplementedError

    def forward(self, cloud: PointCloud) -> Tensor:
        """Predictions in the internal units of the data module; class probabilities for digits."""
        return self.denormalize(self.model(cloud))

    def train(self, mode: bool = True) -> "LitModule":
        super().train(mode)
        if self.frozen:
            self.model.backbone.eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        cloud, target = shard_batch(batch)
        output = self.compiled(cloud) if self.compiled else self.model(cloud)
        loss = self.loss(output, target)
        self.train_loss.update(loss, len(target))
        if world_size() == 1:
            return loss
        # DDP averages over processes, the loss over clouds
        return loss * (world_size() * len(target) / len(batch[1]))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if loss.requires_grad:  # else there is nothing to train
            super().backward(loss, *args, **kwargs)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        output, target = self._evaluate("test", batch)
        results = self.sample_results(output, target)
        self._test_batches.append({name: gather_rows(rows) for name, rows in results.items()})

    def on_test_start(self) -> None:
        self._test_batches = []

    def on_validation_epoch_end(self) -> None:
        if self.train_loss.update_called:  # in the epoch that has just ended
            self.log("train/loss", self.train_loss.compute())
            self.train_loss.reset()
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")
        batches, self._test_batches = self._test_batches, []
        self.samples = {
            name: torch.cat([batch[name] for batch in batches]).numpy() for name in batches[0]
        }

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(trained_parameters(self), lr=self.lr, fused=True)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: cosine(step / steps, self.warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _evaluate(self, part: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Update loss and metric of a part; outputs and targets of this process's samples."""
        cloud, target = shard_batch(batch)
        if not len(target):
            return torch.empty(0, self.model.out_channels, device=target.device), target
        # the test set, gone through once, would not make up for its compilation
        compiled = self.compiled if part == "val" else None
        output = compiled.evaluate(cloud) if compiled else self.model(cloud)
        self.losses[part].update(self.loss(output, target), len(target))
        self.metrics[part].update(self.denormalize(output), target)
        return output, target

    def _log_metrics(self, part: str) -> None:
        self.log(f"{part}/loss", self.losses[part].compute())
        for name, value in self.metric_dict(self.metrics[part].compute()).items():
            self.log(f"{part}/{name}", value)
        self.losses[part].reset()
        self.metrics[part].reset()


class Regression(LitModule):
    """L1 on targets standardized by the training set (Finzi et al. 2020, appendix D); mean absolute
    errors.

    Args:
        mean, std: statistics of the training targets in internal units, (T,).
        factors: factors from internal units to those of tables, (T,).
        masked: some samples lack some targets, which are left out of loss and metrics.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: PointCloudModel,
        units: dict[str, str],
        mean: Tensor,
        std: Tensor,
        factors: list[float],
        masked: bool = False,
        **options: Any,
    ) -> None:
        self.masked = masked
        super().__init__(model, units, **options)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.factors = factors

    def make_metrics(self) -> "Metric":
        from torchmetrics import MeanAbsoluteError

        from gigp.lab.training.metrics import KnownMeanAbsoluteError

        metric = KnownMeanAbsoluteError if self.masked else MeanAbsoluteError
        return metric(num_outputs=len(self.units))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        wanted = (target - self.mean) / self.std
        if self.masked:
            return known_mean_error(output, wanted)
        return (output - wanted).abs().mean()

    def denormalize(self, output: Tensor) -> Tensor:
        return output * self.std + self.mean

    def metric_dict(self, value: Tensor) -> dict[str, Tensor]:
        return {n: v * f for n, v, f in zip(self.units, value.view(-1), self.factors, strict=True)}

    def sample_results(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`error`: prediction minus target in the units of tables, (B, T)."""
        factors = torch.tensor(self.factors, device=output.device)
        return {"error": (self.denormalize(output).float() - target.float()) * factors}


class Classification(LitModule):
    """Cross-entropy; error rate in percent."""

    def make_metrics(self) -> "Metric":
        from torchmetrics import Accuracy

        return Accuracy(task="multiclass", num_classes=self.model.out_channels, validate_args=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    def denormalize(self, output: Tensor) -> Tensor:
        return output.softmax(-1)

    def metric_dict(self, value: Tensor) -> dict[str, Tensor]:
        return {"error": 100 * (1 - value)}

    def sample_results(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`predicted` and `label`: the most probable class and the true one, (B,)."""
        return {"predicted": output.argmax(-1), "label": target}


def cosine(progress: float, warmup: float) -> float:
    """Factor of the learning rate at a fraction of the run."""
    rise = min(progress / warmup, 1.0) if warmup > 0 else 1.0
    return rise * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def known_mean_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error over the known targets of a batch (B, T); 0 where there are none, ()."""
    known = target.isfinite()
    error = torch.where(known, predicted - target.nan_to_num(), 0.0).abs()
    return error.sum() / known.sum().clamp(min=1)
