"""How well the spread of predictions ranks their errors, on the test set of the models."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from gigp.errors import InputError
from gigp.lab.config.paths import MODELS
from gigp.lab.files import write_atomically
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.prediction.predictor import Predictor
from gigp.lab.training.load import load_description

TITLE, NEXT = "## Uncertainty", "## Limits"  # of sections of a card
HEAD = (
    "| target | unit | mean absolute error | of the certain half | mean spread | Spearman |",
    "| --- | --- | --- | --- | --- | --- |",
)


class Ranking(NamedTuple):
    """What the spread of one target tells of its errors, in the unit of the target.

    Attributes:
        error: mean absolute error.
        certain: that of the half of the molecules with the smallest spread.
        spread: mean spread.
        spearman: rank correlation of spread and absolute error, from -1 to 1.
    """

    error: float
    certain: float
    spread: float
    spearman: float


def rank_errors(errors: Tensor, spread: Tensor) -> Ranking:
    """Compare errors with the spread of the same predictions.

    Args:
        errors: predictions minus targets, (M,); NaN where a target is not known.
        spread: spread of the predictions, (M,).
    """
    from torchmetrics.functional import spearman_corrcoef

    known = errors.isfinite()
    errors, spread = errors[known].abs(), spread[known]
    certain = errors[spread.argsort()[: len(errors) // 2]]
    rank = float(spearman_corrcoef(spread, errors))
    return Ranking(float(errors.mean()), float(certain.mean()), float(spread.mean()), rank)


def read_test_set(predictor: Predictor, num: int | None = None) -> tuple[list[Molecule], Tensor]:
    """The first molecules of the test set that the models of a predictor share, and their targets
    in the units of tables, (M, T).

    Raises:
        InputError: the models are not of molecules, or have different test sets, or too few.
    """
    first = predictor.models[0]
    data = first.data
    if not isinstance(data, MoleculeClouds):
        raise InputError(f"{first.run} takes {first.inputs.kind}; errors of molecules are ranked.")
    splits = [load_description(model.run)["split_hash"] for model in predictor.models]
    for other, split in zip(predictor.models, splits, strict=True):
        if split != splits[0]:
            raise InputError(
                f"{first.run} and {other.run} were tested on different molecules; give models of "
                "one data set and split."
            )
    data.setup()
    if num is not None and not 2 <= num <= len(data.indices["test"]):
        raise InputError(
            f"{num} molecules: the test set has {len(data.indices['test']):,}; choose from 2 to "
            "all of them."
        )
    where = data.indices["test"][:num]
    scale = data.positions_std if data.scale_positions and data.positions_std else 1.0
    charges, positions = data.charges[where].long(), scale * data.positions[where].double()
    masks = data.mask[where]
    every = zip(charges, positions, masks, strict=True)
    return [Molecule(z[mask], pos[mask]) for z, pos, mask in every], data.true_targets(where)


def measure_ranking(predictor: Predictor, num: int | None = None) -> dict[str, Ranking]:
    """How the spread of a predictor ranks its errors, by target.

    Args:
        predictor: of several models, or with rotations.
        num: how many molecules of the test set; None: all.

    Raises:
        InputError: the predictor gives no spread; see `read_test_set`.
    """
    if not predictor.has_spread:
        raise InputError("one model has no spread; give several, as A,B,C, or rotations.")
    molecules, truth = read_test_set(predictor, num)
    mean, spread = predictor(molecules).split(truth.shape[1], 1)
    return {
        target.name: rank_errors(mean[:, t] - truth[:, t], spread[:, t])
        for t, target in enumerate(predictor.models[0].data.targets)
    }


def table_of_rankings(predictor: Predictor, rankings: dict[str, Ranking]) -> list[str]:
    """The figures of `measure_ranking` as lines of a table in Markdown."""
    units = {target.name: target.unit for target in predictor.models[0].data.targets}
    return [
        *HEAD,
        *(
            f"| {name} | {units[name]} | {r.error:.4g} | {r.certain:.4g} | {r.spread:.4g} "
            f"| {r.spearman:.2f} |"
            for name, r in rankings.items()
        ),
    ]


def describe(predictor: Predictor, num: int | None = None) -> str:
    """A paragraph about what `measure_ranking` measures."""
    paths = [model.run.resolve() for model in predictor.models]
    names = [str(p.relative_to(MODELS) if p.is_relative_to(MODELS) else p.name) for p in paths]
    models = " and ".join(f"`{name}`" for name in names[-2:])
    models = "".join(f"`{name}`, " for name in names[:-2]) + models
    turned = f" over {predictor.rotations} rotations" if predictor.rotations else ""
    what = f"The mean of {models}{turned}" if len(names) > 1 else f"{models}, averaged{turned},"
    where = "all molecules" if num is None else f"the first {num:,} molecules"
    return (
        f"{what} on {where} of the test set: its errors, those of the half of the molecules with "
        "the smallest spread, and Spearman's correlation between spread and absolute error (1: the "
        "spread ranks all errors, 0: it says nothing). The spread is the standard deviation of the "
        f"predictions{' of the models' if len(names) > 1 else ' over the rotations'}; a single "
        "prediction has none."
    )


def put_in_card(card: Path, lines: Sequence[str]) -> None:
    """Write a section about uncertainty into the card of a model, in place of an earlier one.

    Raises:
        InputError: it is not the card of a model, or cannot be written.
    """
    text = card.read_text() if card.exists() else ""
    if f"\n{NEXT}\n" not in text:
        raise InputError(f"{card} is not the card of a model: it has no line {NEXT!r}.")
    before, _, after = text.partition(f"\n{NEXT}\n")
    before = before.partition(f"\n{TITLE}\n")[0].rstrip("\n")
    section = "\n".join([TITLE, "", *lines])
    write_atomically(card, f"{before}\n\n{section}\n\n{NEXT}\n{after}")
