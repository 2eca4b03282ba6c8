"""Sizes and elements of the molecules that a model was trained on, and how others differ."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gigp.errors import InputError
from gigp.lab.molecules.atoms import SYMBOLS
from gigp.lab.molecules.readers.molecule import Molecule

RARE = 0.001  # share of the training molecules that are smaller than `TrainingRange.small`


class Unlike(NamedTuple):
    """How many molecules are unlike the training molecules.

    Attributes:
        small, large: with fewer or more atoms.
        strange: with other elements.
        unseen: nuclear charges of those elements.
    """

    small: int = 0
    large: int = 0
    strange: int = 0
    unseen: frozenset[int] = frozenset()

    def plus(self, other: "Unlike") -> "Unlike":
        """The numbers of both together."""
        return Unlike(
            self.small + other.small,
            self.large + other.large,
            self.strange + other.strange,
            self.unseen | other.unseen,
        )


class TrainingRange(NamedTuple):
    """Range of the training molecules of a model.

    Attributes:
        small: number of atoms that all but 0.1% of them have at least.
        largest: number of atoms of the largest.
        elements: nuclear charges that occur, ascending.
    """

    small: int
    largest: int
    elements: tuple[int, ...]

    @classmethod
    def of(cls, counts: np.ndarray, charges: Sequence[int]) -> "TrainingRange":
        """The range of molecules with so many atoms (M,), of these elements."""
        small = int(np.quantile(counts, RARE, method="lower"))
        return cls(small, int(counts.max()), tuple(sorted(set(charges))))

    @classmethod
    def from_state(cls, state: Any) -> "TrainingRange":
        """The range in a checkpoint, which may come from anyone.

        Raises:
            InputError: it is none.
        """
        try:
            small, largest, elements = state
            known = range(1, len(SYMBOLS))
            fits = 1 <= small <= largest and all(charge in known for charge in elements)
        except (TypeError, ValueError):
            fits = False
        if not fits or not {int} >= {type(x) for x in (small, largest, *elements)}:
            raise InputError(
                f"the range of the training molecules in the checkpoint is {state!r:.60}, which is "
                "no smallest and largest number of atoms with nuclear charges; it is damaged. "
                "Start again with overwrite=true."
            )
        return cls(small, largest, tuple(elements))

    def warning(self, molecules: Sequence[Molecule]) -> str:
        """One sentence about molecules that are unlike the training molecules, or nothing."""
        return self.sentence(self.count_unlike(molecules))

    def count_unlike(self, molecules: Sequence[Molecule]) -> "Unlike":
        """How many molecules are unlike the training molecules, and in what."""
        sizes = np.array([len(molecule.charges) for molecule in molecules])
        unseen = [set(molecule.charges.tolist()) - {*self.elements} for molecule in molecules]
        return Unlike(
            int((sizes < self.small).sum()),
            int((sizes > self.largest).sum()),
            sum(map(bool, unseen)),
            frozenset[int]().union(*unseen),
        )

    def sentence(self, unlike: "Unlike") -> str:
        """One sentence about such numbers, or nothing."""
        symbols = ", ".join(SYMBOLS[charge] for charge in sorted(unlike.unseen))
        counts = (
            (unlike.small, f"fewer than {self.small} atoms"),
            (unlike.large, f"more than {self.largest} atoms"),
            (unlike.strange, f"other elements ({symbols})"),
        )
        parts = [f"{number} with {what}" for number, what in counts if number]
        if not parts:
            return ""
        return (
            "Predictions may be far off for molecules unlike those of the training set, nearly all "
            f"of which have {self.small} to {self.largest} atoms: {'; '.join(parts)}."
        )
