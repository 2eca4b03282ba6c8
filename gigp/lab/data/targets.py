"""The twelve regression targets of QM9: column, units, and how they scale with the molecule.

Inside, energies are in eV; tables show them in meV. Units: Ramakrishnan et al. 2014, table 3 (doi
10.1038/sdata.2014.22).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gigp.errors import InputError, did_you_mean

HARTREE = 27.211386246  # eV, as in torch_geometric.datasets.qm9


@dataclass(frozen=True)
class Target:
    """One quantity to predict.

    Attributes:
        name: name in the literature.
        column: name of its column in the source's tables.
        internal: internal unit.
        to_internal: factor from the source's unit to the internal one.
        unit: unit of results.
        factor: from the internal unit to that of results.
        kind: `extensive` grows with the molecule, `intensive` does not.
        referenced: the free atoms' reference values are subtracted.
        widest: standard deviations from the mean within which all values lie, those of QM9 with
            any references.
    """

    name: str
    column: str
    internal: str
    to_internal: float
    unit: str
    factor: float
    kind: Literal["intensive", "extensive"]
    referenced: bool = False
    widest: float = 10.0


def _energy(
    name: str, column: str, kind: Literal["intensive", "extensive"], referenced: bool = False
) -> Target:
    return Target(name, column, "eV", HARTREE, "meV", 1000.0, kind, referenced)


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("mu", "Dipole_debye", "D", 1.0, "D", 1.0, "intensive", widest=21.0),
        Target(
            "alpha",
            "Polarizability_bohr3",
            "bohr^3",
            1.0,
            "bohr^3",
            1.0,
            "extensive",
            widest=39.0,
        ),
        _energy("homo", "HOMO_au", "intensive"),
        _energy("lumo", "LUMO_au", "intensive"),
        _energy("gap", "HOMO_LUMO_gap_au", "intensive"),
        Target("r2", "R2_bohr2", "bohr^2", 1.0, "bohr^2", 1.0, "extensive"),
        _energy("zpve", "ZPVE_au", "extensive", True),
        _energy("U0", "InternalEnergy_0K_au", "extensive", True),
        _energy("U", "InternalEnergy_298K_au", "extensive", True),
        _energy("H", "Enthalphy_298K_au", "extensive", True),
        _energy("G", "GibbsFreeEnergy_298K_au", "extensive", True),
        Target(
            "Cv",
            "Heatcapacity_Cv_cal_mol_K",
            "cal/(mol K)",
            1.0,
            "cal/(mol K)",
            1.0,
            "extensive",
            True,
        ),
    )
}


def parse_targets(names: str | Iterable[str] | None) -> tuple[Target, ...]:
    """Targets by name, several at once, or `all`.

    Raises:
        InputError: an unknown name, or none, or one twice.
    """
    names = [names] if isinstance(names, str) else list(names or ())
    if names == ["all"]:
        names = list(TARGETS)
    for name in names:
        if name not in TARGETS:
            meant = did_you_mean(str(name), TARGETS, cutoff=0.5)
            raise InputError(
                f"target={name} is unknown.{meant} Choose from {', '.join(TARGETS)}, or all."
            )
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"target={names}: name one target or several different ones, as target=[homo,r2]."
        )
    return tuple(TARGETS[name] for name in names)
