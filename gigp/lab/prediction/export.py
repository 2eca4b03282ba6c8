"""A trained model as one program that runs without this package."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gigp.backbones.lieconv import LieResNet
from gigp.errors import InputError
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.images.readers import WHITE
from gigp.lab.prediction.inputs import MoleculeInputs
from gigp.lab.prediction.trained import TrainedModel
from gigp.lab.training.load import load_trained
from gigp.lab.training.module import LitModule
from gigp.pointcloud import PointCloud, center_points, masked

if TYPE_CHECKING:
    from torch.export import ExportedProgram


class ImageProgram(nn.Module):
    """From gray values to probabilities, preparation of the images included.

    Args:
        data: data module of the run, which need not be set up.
        task: the trained model.
    """

    def __init__(self, data: ImageClouds, task: LitModule) -> None:
        super().__init__()
        self.data, self.task = data, task

    def forward(self, images: Tensor) -> Tensor:
        """(B, side, side) float32, black 0 to white 255 -> (B, C)."""
        return self.task(self.data.make_cloud(images / WHITE))


class MoleculeProgram(nn.Module):
    """From nuclear charges and positions to properties in the units of tables, in double precision
    but for the positions, which are rounded as in training.

    Args:
        model: a trained model of molecules.
        inputs: what it takes.
    """

    features: Tensor
    references: Tensor
    masses: Tensor
    factors: Tensor

    def __init__(self, model: TrainedModel, inputs: MoleculeInputs) -> None:
        super().__init__()
        data, self.task = inputs.data, model.module
        self.centers = inputs.center or data.recenter
        self.by_mass = data.recenter and data.center == "mass"
        self.unit = (data.positions_std or 1.0) if data.scale_positions else 1.0
        self.register_buffer("features", data.features.double())
        self.register_buffer("references", inputs.atoms)
        self.register_buffer("masses", data.masses.double())
        self.register_buffer("factors", inputs.factors)

    def forward(self, charges: Tensor, positions: Tensor) -> Tensor:
        """(B, N) int64, 0 behind the atoms, and (B, N, 3) float64, Angstrom -> (B, T) float64."""
        mask, masses = charges > 0, self.masses[charges]
        if self.centers:
            positions = center_points(positions, mask, masses if self.by_mass else None)
        positions = (positions / self.unit).float().double()
        cloud = PointCloud(positions, self.features[charges], mask, mass=masses)
        free = masked(self.references[charges], mask).sum(1)  # (B, T)
        return (self.task(cloud) + free) * self.factors


@torch.no_grad()
def export_model(run: str | Path) -> "ExportedProgram":
    """The best model of a run by `torch.export`, for any number of images or molecules.

    Images: (B, side, side) float32 in, (B, C) out. Molecules: nuclear charges (B, N) int64, 0
    behind the atoms of each, and positions (B, N, 3) float64 in Angstrom in, (B, T) float64 out,
    the columns of a `Predictor`. Nothing is refused there that a `Predictor` refuses.

    Args:
        run: folder of the run, with its checkpoints, or of a model.

    Returns:
        A program for `torch.export.save` or `torch.onnx.export`, on the CPU.

    Raises:
        InputError: there is no such run, or its network cannot be exported: one with several lifts
            for each point, with balls that hold a part of the points, or of another kind.
    """
    from torch.export import Dim, export  # loading it takes as long as PyTorch

    _, data, task = load_trained(run, setup=False)
    if not isinstance(data, ImageClouds):
        return export_molecules(TrainedModel(Path(run)))
    program, example = ImageProgram(data, task).eval(), torch.zeros(2, data.side, data.side)
    program(example)  # lays out the grid, which the program then holds as numbers
    return export(program, (example,), dynamic_shapes=({0: Dim("batch", min=1)},))


def export_molecules(model: TrainedModel) -> "ExportedProgram":
    """The program of a model of molecules, see `export_model`."""
    from torch.export import Dim, export

    net, inputs = model.module.model.backbone, model.inputs
    geometry = net.geometry if isinstance(net, LieResNet) else None
    whole = geometry is not None and min(geometry.fill) == 1 and net.num_lifts == 1
    if model.frozen or not whole or not isinstance(inputs, MoleculeInputs):
        raise InputError(
            f"{model.run} cannot be exported: a program needs LieConv with one lift for each atom, "
            "as group=T3 or E3, with fill=1, and no features of another run (gigp.lab.prediction."
            "Predictor predicts with all of them)."
        )
    assert geometry is not None
    charges = torch.tensor([[8, 1, 1, 0], [6, 7, 1, 1], [6, 6, 1, 0]])
    positions = torch.arange(36, dtype=torch.float64).view(3, 4, 3).cos()
    molecules, atoms = Dim("molecules", min=1), Dim("atoms", min=2, max=geometry.max_neighbors)
    shapes = {0: molecules, 1: atoms}
    program = MoleculeProgram(model, inputs).eval()
    return export(program, (charges, positions), dynamic_shapes=(shapes, shapes))
