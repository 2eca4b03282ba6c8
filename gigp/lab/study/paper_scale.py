"""How long runs at scale=paper take at the rates of a benchmark."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PaperRun:
    """Size of a run at scale=paper.

    Attributes:
        title: name in tables.
        samples, epochs: size of the training set, and epochs.
        validation: samples that are evaluated after every epoch.
    """

    title: str
    samples: int
    epochs: int
    validation: int

    def hours(self, rates: Mapping[str, float]) -> float:
        """Hours of training and validation.

        Args:
            rates: samples a second in `train` and `eval`.
        """
        epoch = self.samples / rates["train"] + self.validation / rates["eval"]
        return self.epochs * epoch / 3600


QM9 = PaperRun("QM9, T(3), one target, k 1536, 500 epochs of 100,000", 100_000, 500, 17_748)
DIGITS = PaperRun("rotated MNIST, SO(2), k 128, 500 epochs of 10,000", 10_000, 500, 2_000)
# cases of the CPU's benchmark that have the width of these runs
MEASURED = {"QM9 T(3), k 1536": QM9, "rotated MNIST SO(2), k 128": DIGITS}


def rows_of_cpu(machine: str, record: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Rows of the table of hours from a record of the CPU's benchmark."""
    for case, run in MEASURED.items():
        for side, entry in record["cases"].get(case, {"sides": {}})["sides"].items():
            if side != "reference":
                precision = side.removeprefix("gigp").strip() or "fp32"
                yield _row(run.title, machine, precision, entry, run.hours(entry))


def rows_of_gpu(machine: str, record: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Rows of the table of hours from a record of `make gpu`."""
    for case, result in record["cases"].items():
        for entry in result["entries"]:
            how = entry["precision"] + (", compiled" if entry["compiled"] else "")
            yield _row(case, machine, how, entry, entry["hours"])


def _row(
    run: str, machine: str, how: str, rates: Mapping[str, float], hours: float
) -> dict[str, str]:
    return {
        "run at scale=paper": run,
        "measured on": machine,
        "how": how,
        "train/s": rate_text(rates["train"]),
        "eval/s": rate_text(rates["eval"]),
        "hours": f"{hours:.3g}",
    }


def rate_text(rate: float) -> str:
    """A rate with four digits."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"
