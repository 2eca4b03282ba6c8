"""Baselines by least squares, without a network: of images, and of QM9 in full.

On images they are the most frequent class, and a linear fit of the classes on the pixels;
`gigp.lab.molecules.baselines` has those of molecules.
"""

from functools import cache
from pathlib import Path

import torch

from gigp.lab.images.clouds import ImageClouds
from gigp.lab.molecules.baselines import NAMES, Baselines, molecule_errors
from gigp.lab.molecules.qm9 import QM9


def image_errors(data: ImageClouds) -> Baselines:
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


@cache
def baseline_errors(
    root: Path, train_size: int | None = None, names: tuple[str, ...] = tuple(NAMES)
) -> Baselines:
    """Mean absolute test error of each baseline on QM9 by target; computed once.

    Args:
        root: folder of the data.
        train_size: number of training molecules; None takes all 100,000.
        names: names of the baselines.
    """
    data = QM9(
        root=str(root), cache=str(root), target="all", reference="atoms", train_size=train_size
    )
    data.setup()
    return molecule_errors(data, names)
