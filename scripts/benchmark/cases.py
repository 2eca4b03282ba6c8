"""Cases of the benchmark: configurations at the published settings, with real batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gigp.backbones.base import Atoms
from gigp.lab.config.compose import compose_config
from gigp.lab.config.instantiate import instantiate
from gigp.pointcloud import PointCloud

ROOT = Path(__file__).resolve().parents[2]
BATCHES = 4  # different batches that every model goes through in a turn
EMBEDDED_DIGITS = [
    "dataset.source=embedded",
    *(f"dataset.{part}_size=null" for part in ("train", "val", "test")),
]
# title: overrides of the published settings
CASES: dict[str, list[str]] = {
    "QM9 T(3), k 256": ["dataset=qm9", "group=T3", "backbone.width=256"],
    "QM9 E(3), k 256": ["dataset=qm9", "backbone.width=256"],
    "QM9 T(3), k 1536": ["dataset=qm9", "group=T3"],
    "QM9 SE(3), 4 lifts, 25 neighbors, k 256": ["dataset=qm9", "group=SE3", "backbone.width=256"],
    "rotated MNIST SO(2), k 128": ["dataset=rotmnist", *EMBEDDED_DIGITS],
    "rotated MNIST SE(2), 2 lifts, k 128": ["dataset=rotmnist", *EMBEDDED_DIGITS, "group=SE2"],
}
# LieConv has no such group: measured beside another case
BESIDE = {"QM9 E(3), k 256": "QM9 T(3), k 256"}
BF16_CASES = ("QM9 T(3), k 1536",)  # also measured in bf16; the others would take minutes
POOL = "GIGP layer, 64 clouds x 128 points x 64 channels, K 50"
POOLS = "Pools on 75 molecules of QM9, 64 channels, K 50"
AGGREGATIONS = "The same molecules in one list of points, aggregations of PyTorch Geometric"
TITLES = (*CASES, POOL, POOLS, AGGREGATIONS)
# pools of configs/pool that are measured: GIGP, and pools of PyTorch Geometric
MEASURED_POOLS = ("gigp", "mean", "softmax", "attentional", "deepsets", "set_transformer")
MEASURED_AGGREGATIONS = ("GIGP", "Mean", "Softmax", "Attentional", "DeepSets", "SetTransformer")


@dataclass
class BenchInputs:
    """The inputs that every model of a case is built from, as in a data module.

    Attributes:
        cfg: the composed configuration.
        batches: training batches, augmented.
        in_channels, out_dim, grid, atoms, per_point_outputs: attributes of the data module.
        disk: pixels of an image that are points, for rotated MNIST.
    """

    cfg: DictConfig
    batches: list[tuple[PointCloud, Tensor]]
    in_channels: int
    out_dim: int
    grid: Tensor | None = None
    disk: Tensor | None = None
    atoms: Atoms | None = None
    per_point_outputs: bool = False


def compose_case(overrides: list[str]) -> DictConfig:
    """Compose a configuration at paper scale with mean pooling, with `overrides` on top."""
    places = [f"dataset.root={ROOT}/data", f"dataset.cache={ROOT}/data", "logger=csv"]
    cfg = compose_config(["scale=paper", "pool=mean", *overrides, *places])
    OmegaConf.resolve(cfg)
    return cfg


def load_data(overrides: list[str]) -> tuple[DictConfig, Any]:
    """Compose a configuration and set up its data module."""
    cfg = compose_case(overrides)
    data = instantiate(cfg.dataset)
    data.setup()
    return cfg, data


def load_inputs(overrides: list[str]) -> BenchInputs:
    """Load the first training batches of a configuration."""
    cfg, data = load_data(overrides)
    first = data.indices["train"][: BATCHES * data.batch_size].split(data.batch_size)
    batches = [data.prepare_batch(data.get_batch(indices), augment=True) for indices in first]
    disk = getattr(data, "disk", None)
    return BenchInputs(cfg, batches, data.in_channels, data.out_dim, data.grid, disk, data.atoms)
