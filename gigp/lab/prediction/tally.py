"""Counts of inputs that are unlike those of the training, for one warning about all of a file."""

from collections.abc import Sequence
from typing import Protocol

from gigp.lab.molecules.chemistry import Chemistry
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.molecules.training_range import TrainingRange, Unlike


class Tally(Protocol):
    """A count of inputs that are unlike those of the training."""

    def add(self, inputs: Sequence, names: Sequence[str] = ()) -> None:
        """Count further inputs, which may have names."""

    def sentences(self) -> list[str]:
        """What was counted, in sentences; none where all is as in the training."""


class NoTally:
    """Of inputs about which nothing is known."""

    def add(self, inputs: Sequence, names: Sequence[str] = ()) -> None:
        """Nothing to count."""

    def sentences(self) -> list[str]:
        """Nothing to say."""
        return []


class Tallies:
    """Of several models together, which say the same thing once.

    Args:
        each: the count of every model.
    """

    def __init__(self, each: Sequence[Tally]) -> None:
        self.each = each

    def add(self, inputs: Sequence, names: Sequence[str] = ()) -> None:
        """Count further inputs."""
        for tally in self.each:
            tally.add(inputs, names)

    def sentences(self) -> list[str]:
        """What the counts say, each sentence once."""
        return [*dict.fromkeys(said for tally in self.each for said in tally.sentences())]


class MoleculeTally:
    """A count of molecules that are unlike those of the training set.

    Args:
        known: range of the training molecules, or None.
        chemistry: kinds of the training molecules, or None.
    """

    def __init__(self, known: TrainingRange | None, chemistry: Chemistry | None) -> None:
        self.known, self.chemistry = known, chemistry
        self.unlike, self.lacking, self.first = Unlike(), 0, ""

    def add(self, inputs: Sequence[Molecule], names: Sequence[str] = ()) -> None:
        """Count further molecules."""
        if self.known and inputs:
            self.unlike = self.unlike.plus(self.known.count_unlike(inputs))
        doubts = self.chemistry.doubts(inputs) if self.chemistry else []
        for i, doubt in enumerate(doubts):
            if doubt and not self.lacking:
                self.first = f"{names[i]}: {doubt}" if i < len(names) and names[i] else doubt
            self.lacking += bool(doubt)

    def sentences(self) -> list[str]:
        """Sizes and elements outside the training range, and hydrogens that seem to be missing."""
        sentences = [self.known.sentence(self.unlike)] if self.known else []
        if self.lacking:
            plural = "s seem" if self.lacking > 1 else " seems"
            sentences.append(f"{self.lacking} molecule{plural} to lack hydrogens; {self.first}")
        return list(filter(None, sentences))
