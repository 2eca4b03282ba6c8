"""Baselines of images without a network: the most frequent class, and a linear fit of the classes
on the pixels.
"""

import torch
from torch import Tensor

from gigp.lab.images.clouds import ImageClouds

CHUNK = 5000  # images at a time: bounds the memory


def image_errors(data: ImageClouds) -> dict[str, dict[str, float]]:
    """Percent of wrong test images of each baseline.

    Args:
        data: set up.
    """
    train, test = data.indices["train"], data.indices["test"]
    classes = torch.nn.functional.one_hot(data.labels, data.out_dim).double()  # (M, C)
    width = len(data.points) + 1
    gram, moments = torch.zeros(width, width).double(), torch.zeros(width, data.out_dim).double()
    for chunk in train.split(CHUNK):
        x = _pixels(data, chunk)
        gram += x.T @ x
        moments += x.T @ classes[chunk]
    fit = torch.linalg.pinv(gram, hermitian=True) @ moments
    predicted = {
        "most frequent class": classes[train].sum(0).argmax().expand(len(test)),
        "least squares on the pixels": torch.cat(
            [(_pixels(data, chunk) @ fit).argmax(1) for chunk in test.split(CHUNK)]
        ),
    }
    wrong = {name: values != data.labels[test] for name, values in predicted.items()}
    return {name: {"error": 100 * w.double().mean().item()} for name, w in wrong.items()}


def _pixels(data: ImageClouds, indices: Tensor) -> Tensor:
    """Gray values from 0 to 1 of some images, and a one, (n, N + 1) float64."""
    pixels = (data.images[indices].flatten(1)[:, data.points] / 255).double()
    return torch.cat([pixels, torch.ones(len(pixels), 1, dtype=torch.double)], 1)
