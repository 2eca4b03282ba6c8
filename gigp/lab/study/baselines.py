"""Baselines by least squares, without a network, of QM9 in full."""

from functools import cache
from pathlib import Path

from gigp.lab.molecules.baselines import NAMES, Baselines, molecule_errors
from gigp.lab.molecules.qm9 import QM9


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
