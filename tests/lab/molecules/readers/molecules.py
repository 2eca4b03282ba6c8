"""One molecule of water in every format, and what the readers make of a text."""

from gigp.errors import InputError
from gigp.lab.data.entries import InputEntry, read_entries
from gigp.lab.molecules.readers import MOLECULE_READERS

WATER = [("O", 0.0, 0.0, 0.1173), ("H", 0.0, 0.7572, -0.4692), ("H", 0.0, -0.7572, -0.4692)]
POSITIONS = [list(atom[1:]) for atom in WATER]
XYZ = "3\nwater\n" + "".join(f"{e} {x} {y} {z}\n" for e, x, y, z in WATER)
EXTENDED = '3\nProperties=pos:R:3:species:S:1:forces:R:3 Lattice="9 0 0 0 9 0 0 0 9"\n' + "".join(
    f"{x} {y} {z} {e} 0.1 0.2 0.3\n" for e, x, y, z in WATER
)
NUMBERS = "3\n\n8 0 0 .1173\n1 0 .7572 -.4692\n1 0 -7.572*^-1 -.4692\n"
ATOMS = "".join(f"{x:10.4f}{y:10.4f}{z:10.4f} {e:3} 0  0  0  0  0  0\n" for e, x, y, z in WATER)
HEADER = "water\n  program 01010000003D\n\n  3  2  0  0  0  0            999 V2000\n"
SDF = f"{HEADER}{ATOMS}  1  2  1  0\n  1  3  1  0\nM  END\n"
V3000 = (
    "water\n  program 01010000003D\n\n  0  0  0     0  0            999 V3000\n"
    "M  V30 BEGIN CTAB\nM  V30 COUNTS 3 2 0 0 0\nM  V30 BEGIN ATOM\n"
    "M  V30 1 O 0.0 0.0 -\nM  V30 0.1173 0\nM  V30 2 H 0.0 0.7572 -0.4692 0 MASS=2\n"
    "M  V30 3 H 0.0 -0.7572 -0.4692 0\nM  V30 END ATOM\nM  V30 BEGIN BOND\nM  V30 1 1 1 2\n"
    "M  V30 2 1 1 3\nM  V30 END BOND\nM  V30 END CTAB\nM  END\n"
)
CSV = "molecule,element,x,y,z\n" + "".join(f"water,{e},{x},{y},{z}\n" for e, x, y, z in WATER)
TEXTS = {
    "a.xyz": XYZ,
    "b.xyz": EXTENDED,
    "c.extxyz": NUMBERS,
    "d.sdf": SDF + "$$$$\n",
    "e.mol": SDF,
    "f.csv": CSV,
    "g.sdf": V3000 + "$$$$\n",
}


def read(tmp_path, name: str, text: str) -> list[InputEntry]:
    """Entries of a file with this text."""
    (tmp_path / name).write_bytes(text.encode())
    return read_entries(tmp_path / name, MOLECULE_READERS)


def errors(entries: list[InputEntry]) -> list[str]:
    return [entry.error for entry in entries]


def problems(path) -> list[str]:
    """What is wrong with a file as a whole, or with each of its entries."""
    try:
        return errors(read_entries(path, MOLECULE_READERS))
    except InputError as error:
        return [str(error)]


def assert_water(entries: list[InputEntry], count: int = 1) -> None:
    """So many molecules of water, to the last digit."""
    assert errors(entries) == [""] * count
    for entry in entries:
        assert entry.content.charges.tolist() == [8, 1, 1]
        assert entry.content.positions.tolist() == POSITIONS
