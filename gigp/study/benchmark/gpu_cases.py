"""Configurations that are measured on a GPU, with the size of their published runs."""

from dataclasses import dataclass, replace

from gigp.study.benchmark.cases import EMBEDDED_DIGITS


@dataclass(frozen=True)
class GPUCase:
    """A configuration to measure.

    Attributes:
        title: name in tables.
        overrides: overrides of the published settings.
        samples, epochs: size of the training set and epochs of a run at scale=paper.
        validation: samples that are evaluated after every epoch.
    """

    title: str
    overrides: tuple[str, ...]
    samples: int
    epochs: int
    validation: int


def qm9_case(title: str, *overrides: str) -> GPUCase:
    return GPUCase(title, ("dataset=qm9", *overrides), 100_000, 500, 17_748)


def digits_case(title: str, *overrides: str) -> GPUCase:
    return GPUCase(title, overrides, 10_000, 500, 2_000)


def cases(small: bool) -> list[GPUCase]:
    """The cases in the order of their importance; a few of them with few channels if `small`."""
    width = ["backbone.width=16"] if small else []
    digits = ("dataset=rotmnist", *EMBEDDED_DIGITS, *width)
    chosen = [
        qm9_case("T(3) k1536 b75 mean", *width),
        qm9_case("T(3) k1536 b75 GIGP", "pool=gigp", *width),
        digits_case("SO(2) k128 b25 mean", *digits),
        qm9_case("SE(3) k256 b75 mean", "group=SE3", *(width or ["backbone.width=256"])),
        qm9_case("T(3) k1536 b300 mean", "dataset.batch_size=300", *width),
        digits_case("SO(2) k128 b25 GIGP", "pool=gigp", *digits),
    ]
    if not small:
        return chosen
    return [replace(case, title=case.title.replace("k1536", "k16")) for case in chosen[1:2]] + [
        replace(chosen[2], title="SO(2) k16 b25 mean")
    ]
