"""Units of positions that a file states."""

import re
from collections.abc import Mapping

from gigp.errors import InputError

BOHR = 0.529177210903  # Angstrom (CODATA 2018)
# Angstrom, by name in lower case
LENGTHS = {"a": 1.0, "å": 1.0, "ang": 1.0, "angs": 1.0, "angstrom": 1.0, "angstroms": 1.0}
LENGTHS |= {"ångström": 1.0, "angström": 1.0}
LENGTHS |= dict.fromkeys(("bohr", "bohrs", "bohr radius", "a0", "au", "a.u.", "atomic"), BOHR)
LENGTHS |= dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 10.0)
LENGTHS |= dict.fromkeys(("pm", "picometer", "picometers", "picometre", "picometres"), 0.01)
LENGTHS |= dict.fromkeys(("m", "meter", "metre"), 1e10)
# names of fields, in lower case and without what is no letter; the first may be of other numbers
ANY_UNIT = ("unit", "units")
LENGTH_UNIT = re.compile(
    r"(length|lengths|pos|position|positions|coord|coords|coordinate|coordinates|distance|geometry"
    r"|xyz|geom)(unit|units)|(unit|units)(of)?(length|position|positions|coordinates)"
)
IN_TEXT = re.compile(r"(?:\bin\s+|\(|\[)(bohrs?|a0)\b", re.IGNORECASE)


def factor_to_angstrom(fields: Mapping[str, str], text: str = "") -> float:
    """Angstrom in one unit of the positions: as a field states (units=bohr), or running text (in
    Bohr); 1 where nothing does.

    Raises:
        InputError: a field for the unit of lengths has no known one.
    """
    for name, value in fields.items():
        plain, word = re.sub("[^a-z]", "", name.lower()), value.strip().lower()
        if LENGTH_UNIT.fullmatch(plain):
            if word not in LENGTHS:
                raise InputError(
                    f"{name}={value[:40]} is no known unit of positions; write Angstrom, Bohr, nm "
                    "or pm."
                )
            return LENGTHS[word]
        # units=eV is one of another number
        if plain in ANY_UNIT and word in LENGTHS and word not in ("a", "m"):
            return LENGTHS[word]
    return BOHR if IN_TEXT.search(text) else 1.0


def without_units(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields that state no unit of positions, for a molecule that is in Angstrom."""
    return {
        name: value
        for name, value in fields.items()
        if not LENGTH_UNIT.fullmatch(re.sub("[^a-z]", "", name.lower()))
        and not (
            re.sub("[^a-z]", "", name.lower()) in ANY_UNIT and value.strip().lower() in LENGTHS
        )
    }
