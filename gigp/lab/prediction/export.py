"""A trained model of images as one program that runs without this package."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from gigp.errors import InputError
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.images.readers import WHITE
from gigp.lab.training.load import load_trained
from gigp.lab.training.module import LitModule


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


@torch.no_grad()
def export_model(run: str | Path) -> ExportedProgram:
    """The best model of a run on images by `torch.export`: (B, side, side) float32 in, (B, C) out,
    for any B >= 1.

    Args:
        run: folder of the run, with its checkpoints.

    Returns:
        A program for `torch.export.save` or `torch.onnx.export`, on the CPU.

    Raises:
        InputError: there is no such run, or it is not on images.
    """
    _, data, task = load_trained(run, setup=False)
    if not isinstance(data, ImageClouds):
        raise InputError(
            f"{run} is a run on {type(data).__name__}, which cannot be exported: its work depends "
            "on how many points each cloud has. Runs on rotmnist and images can; use "
            "gigp.lab.prediction.Predictor for molecules."
        )
    program, example = ImageProgram(data, task).eval(), torch.zeros(2, data.side, data.side)
    program(example)  # lays out the grid, which the program then holds as numbers
    return export(program, (example,), dynamic_shapes=({0: Dim("batch", min=1)},))
