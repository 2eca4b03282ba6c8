"""Trained models, ready for inputs from files: from folders to numbers with units."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gigp.errors import InputError, check_choice
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.molecules.readers.objects import is_foreign
from gigp.lab.prediction.steady import steady_state
from gigp.lab.prediction.tally import Tallies, Tally
from gigp.lab.prediction.trained import Precision, TrainedModel
from gigp.lab.training.rotations import check_rotations, mean_and_spread

log = logging.getLogger(__name__)


class Predictor:
    """Models of finished runs or of model folders; several predict their mean, and how far they
    spread. No data set is needed.

    Args:
        runs: folder of a run, with its checkpoints, or of a model; or several, which predict the
            same targets in the same units from the same kind of input.
        batch_size: clouds at a time; None: as in the run's evaluation. Predictions do not depend on
            it.
        device: device to compute on.
        check: refuse molecules whose chemistry the models have never seen, see `refusals`.
        extrapolate: give also numbers that lie far outside the range of the training targets.
        precision: of models of molecules, `double`; with `single`, which is faster on a CPU, the
            last digits may depend on the other inputs of a batch.
        rotations: average the predictions of every model over so many orientations, 2 to 24: for
            molecules rotations of a cube, for images turns by equal angles. 0: none.

    Attributes:
        columns: names of the predictions, with units; with several models or with rotations, then
            of their spreads, in the same order: the standard deviation (n - 1) of the models'
            predictions, or of those of one model over the rotations.
        readers: readers of input files, by ending.

    Raises:
        InputError: see `TrainedModel`; or the models do not predict the same from the same.
    """

    def __init__(
        self,
        runs: str | Path | Sequence[str | Path],
        batch_size: int | None = None,
        device: str | torch.device = "cpu",
        check: bool = True,
        extrapolate: bool = False,
        precision: Precision = "double",
        rotations: int = 0,
    ) -> None:
        check_choice("precision", precision, Precision)
        check_rotations(rotations)
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size={batch_size}: it must be positive.")
        folders = [runs] if isinstance(runs, str | Path) else runs
        self.device, self.batch_size = torch.device(device), batch_size
        self.checks, self.extrapolate, self.rotations = check, extrapolate, rotations
        with steady_state(self.device):
            self.models = [TrainedModel(Path(run), self.device, precision) for run in folders]
        _check_alike(self.models)
        self.inputs = self.models[0].inputs
        self.has_spread = len(self.models) > 1 or rotations > 0
        self.columns = self.inputs.columns + (self.inputs.spreads if self.has_spread else [])
        self.readers = self.inputs.readers
        if fixed := [str(model.run) for model in self.models if rotations and model.is_invariant]:
            log.warning("%s", _nothing_changes(fixed, rotations, alone=len(self.models) == 1))

    def check(self, content: object) -> None:
        """Refuse an input that the models cannot take.

        Raises:
            InputError: it is no molecule, or no image of gray values from 0 to 255; a molecule has
                elements that are unknown to a model, an image another size.
        """
        for model in self.models:
            model.inputs.check(content)

    def refusals(self, inputs: Sequence[Any]) -> list[str]:
        """For each input the reason why a model cannot know its chemistry, or nothing: ions, odd
        numbers of electrons, open shells, missing hydrogens, other units, cells that cut a
        molecule.
        """
        contents = [self.inputs.adopt(content) for content in inputs]
        reasons = zip(*(model.inputs.refusals(contents) for model in self.models), strict=True)
        return [next(filter(None, each), "") for each in reasons]

    def warning(self, inputs: Sequence[Any]) -> str:
        """Sentences about molecules that have other sizes or elements than those the models were
        trained on, or seem to lack hydrogens; empty where there are none.
        """
        tally = self.tally()
        tally.add([self.inputs.adopt(content) for content in inputs])
        return " ".join(tally.sentences())

    def tally(self) -> Tally:
        """A count of inputs that are unlike those of the training."""
        return Tallies([model.inputs.tally() for model in self.models])

    def cells(self, row: list[float]) -> list[str]:
        """One row of predictions as text, a cell for every column."""
        num = len(self.inputs.columns)
        return self.inputs.cells(row[:num]) + [f"{spread:.4g}" for spread in row[num:]]

    def __call__(self, inputs: Iterable[Any]) -> Tensor:
        """Predict. What else the process has set does not count: see `steady_state`.

        Args:
            inputs: molecules, those of ASE and RDKit too, or images (side, side) of gray values
                from 0 to 255.

        Returns:
            (M, T) float64 in the order and the units of `columns`: whole properties, the
            references of their atoms added.

        Raises:
            InputError: see `check` and `refusals`; a number lies far outside the range of the
                training targets; or one input in place of several.
        """
        one = isinstance(inputs, Molecule | str) or is_foreign(inputs)
        if one or (isinstance(inputs, Tensor) and inputs.dim() < 3):
            raise InputError(f"one {type(inputs).__name__} in place of several; pass a list of it.")
        with steady_state(self.device):
            contents = [self.inputs.adopt(content) for content in inputs]
            for content in contents:
                self.check(content)
            _raise_first(self.refusals(contents) if self.checks else ())
            return self._predict(contents)

    def _predict(self, contents: Sequence[Any]) -> Tensor:
        """Predictions of all models together, (M, T), for inputs that they take."""
        means, spread = [], torch.empty(0)
        for model in self.models:
            mean, spread = model.predict(contents, self.batch_size, self.rotations)
            if not self.extrapolate:
                _raise_first(model.inputs.far_outside(mean, contents))
            means.append(mean[:, [model.inputs.names.index(name) for name in self.inputs.names]])
        if len(means) > 1 and contents:
            mean, spread = mean_and_spread(means)
        values = self.inputs.complete(mean)
        return torch.cat([values, spread], 1) if self.has_spread else values


def _check_alike(models: Sequence[TrainedModel]) -> None:
    """Refuse models that take or predict different things, or one of them twice."""
    if not models:
        raise InputError("run= names no model; give the folder or the name of at least one.")
    first = models[0]
    for i, other in enumerate(models[1:], 1):
        if any(other.run.samefile(model.run) for model in models[:i]):
            raise InputError(
                f"{other.run} is given twice; a spread is that of different models, give it once."
            )
        kinds = [model.inputs.kind for model in (first, other)]
        if kinds[0] != kinds[1]:
            raise InputError(
                f"{first.run} takes {kinds[0]}, {other.run} takes {kinds[1]}; several models must "
                "take the same kind of input."
            )
        mine, theirs = first.inputs.names, other.inputs.names
        if set(mine) != set(theirs):
            one, two = (
                ", ".join(name for name in names if name not in others) or "no more"
                for names, others in ((mine, theirs), (theirs, mine))
            )
            raise InputError(
                f"{first.run} predicts {one}, {other.run} {two}; several models must predict the "
                "same targets in the same units."
            )


def _nothing_changes(runs: Sequence[str], rotations: int, alone: bool) -> str:
    """A line about models that rotations do not change."""
    verb = "is" if len(runs) == 1 else "are"
    zero = ", and the spread is 0" if alone else ""
    return (
        f"{', '.join(runs)} {verb} exactly invariant: rotations={rotations} changes nothing{zero}."
    )


def _raise_first(reasons: Iterable[str]) -> None:
    """Raise the first reason of several, if there is one."""
    if reason := next(filter(None, reasons), ""):
        raise InputError(reason)
