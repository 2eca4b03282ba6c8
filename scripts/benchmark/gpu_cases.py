"""Configurations that are measured on a GPU, with the size of their published runs."""

from dataclasses import dataclass, replace

from gigp.lab.study.paper_scale import DIGITS, QM9, PaperRun
from scripts.benchmark.cases import EMBEDDED_DIGITS


@dataclass(frozen=True)
class GPUCase:
    """A configuration to measure.

    Attributes:
        title: name in tables.
        overrides: overrides of the published settings.
        run: the run at scale=paper whose hours follow from the rates.
    """

    title: str
    overrides: tuple[str, ...]
    run: PaperRun


def qm9_case(title: str, *overrides: str) -> GPUCase:
    return GPUCase(title, ("dataset=qm9", "group=T3", *overrides), QM9)


def digits_case(title: str, *overrides: str) -> GPUCase:
    return GPUCase(title, overrides, DIGITS)


def cases(small: bool) -> list[GPUCase]:
    """The cases in the order of their importance; two of them with few channels and blocks if
    `small`.
    """
    size = ["backbone.width=16", "backbone.blocks=2"] if small else []
    digits = ("dataset=rotmnist", *EMBEDDED_DIGITS, *size)
    chosen = [
        qm9_case("T(3) k1536 b75 mean", *size),
        qm9_case("T(3) k1536 b75 GIGP", "pool=gigp", *size),
        digits_case("SO(2) k128 b25 mean", *digits),
        qm9_case("SE(3) k256 b75 mean", "group=SE3", *(size or ["backbone.width=256"])),
        qm9_case("T(3) k1536 b300 mean", "dataset.batch_size=300", *size),
        digits_case("SO(2) k128 b25 GIGP", "pool=gigp", *digits),
    ]
    if not small:
        return chosen
    return [
        replace(chosen[1], title="T(3) k16 b75 GIGP"),
        replace(chosen[2], title="SO(2) k16 b25 mean"),
    ]
