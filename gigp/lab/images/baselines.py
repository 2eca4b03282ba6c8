"""Baselines of images without a network: the most frequent class, and a linear fit of the classes
on the pixels.
"""

import torch

from gigp.lab.images.clouds import ImageClouds


def image_errors(data: ImageClouds) -> dict[str, dict[str, float]]:
    """Percent of wrong test images of each baseline.

    Args:
        data: set up.
    """
    train, test = data.indices["train"], data.indices["test"]
    pixels = (data.images.flatten(1)[:, data.points] / 255).double()
    known = torch.cat([pixels, torch.ones(len(pixels), 1, dtype=torch.double)], 1)  # (M, N + 1)
    classes = torch.nn.functional.one_hot(data.labels, data.out_dim).double()  # (M, C)
    x = known[train]
    fit = torch.linalg.pinv(x.T @ x, hermitian=True) @ (x.T @ classes[train])
    predicted = {
        "most frequent class": classes[train].sum(0).expand(len(test), -1),
        "least squares on the pixels": known[test] @ fit,
    }
    wrong = {name: values.argmax(1) != data.labels[test] for name, values in predicted.items()}
    return {name: {"error": 100 * w.double().mean().item()} for name, w in wrong.items()}
