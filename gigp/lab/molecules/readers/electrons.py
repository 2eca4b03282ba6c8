"""The charge and the spin that a file states, however it spells them."""

import re
from collections.abc import Iterable, Mapping, Sequence

from gigp.lab.data.text import parse_number

CHARGE, MULTIPLICITY = "charge", "multiplicity"  # fields that readers write
# names of fields, in lower case and without what is no letter or digit
CHARGE_NAME = re.compile(
    r"(?!.*(partial|nuclear|core|point)).*(charge|chg)(e|au)?|q|qtot|nettocharge"
)
CHARGES_NAME = re.compile(r"(?!.*(partial|nuclear|core|point)).*(charges|chgs)")  # of atoms
SPIN_NAME = re.compile(r".*(multiplicity|spinmult|mult)|(total|net)?spin|2s1")
UNPAIRED_NAME = re.compile(r"n?uhf|n?(um)?(ber)?(of)?(unpaired|radical)s?(electrons)?")
MOMENT_NAME = re.compile(r".*(magmoms?|magnetization|magneticmoments?)")
SIGNED = re.compile(r"([+-]*+)(\d*+\.?+\d*+)([+-]*+)e?")  # 1, +1, 1+, 1.0, ++
UNKNOWN = ("", "unknown", "none", "null", "nan", "na", "n/a", "?", "-", "t")  # t: a flag, no value
WORDS = {"neutral": 0.0, "cation": 1.0, "dication": 2.0, "anion": -1.0, "dianion": -2.0}
SPINS = {"singlet": 1, "doublet": 2, "triplet": 3, "quartet": 4, "quintet": 5, "sextet": 6}
SPINS |= {"radical": 2, "diradical": 3, "biradical": 3}
# in running text: charge 1, charge: -1, q=+2; multiplicity 3; 1 2 alone, as quantum-chemical
# programs begin their list of atoms
CHARGE_TEXT = re.compile(
    r"(?<![\w.])(?:charge|chg|chrg|q)[\"']?+\s*+(?:[:=]|is|of)?+\s*+([+-]?\d+[+-]?)(?![\w.])"
)
SPIN_TEXT = re.compile(r"(?<![\w.])(?:multiplicity|mult|spin)\s*+(?:[:=]|is|of)?+\s*+(\d)(?![\w.])")
PAIR_TEXT = re.compile(r"([+-]?\d)[\s,]+(\d)", re.ASCII)
WORD_TEXT = re.compile(rf"\b({'|'.join(map(re.escape, [*WORDS, *SPINS]))})s?\b")


def stated_charge(fields: Mapping[str, str]) -> tuple[str, float] | None:
    """The field that states another charge than 0, or else the first that states one, with the
    charge in elementary charges; None where none does.
    """
    stated = []
    for name, text in fields.items():
        plain = re.sub("[^a-z0-9]", "", name.lower())
        if CHARGE_NAME.fullmatch(plain):
            value = parse_charge(text)
        elif CHARGES_NAME.fullmatch(plain):
            value = _sum_of(text)
        else:
            continue
        if value is not None:
            stated.append((name, value))
    return max(stated, key=lambda pair: pair[1] != 0, default=None)


def unreadable_charge(fields: Mapping[str, str]) -> str:
    """The field of a charge that is no number, as `charge=one`; empty where there is none."""
    for name, text in fields.items():
        plain = re.sub("[^a-z0-9]", "", name.lower())
        if not CHARGE_NAME.fullmatch(plain) or text.strip().lower() in UNKNOWN:
            continue
        if parse_charge(text) is None:
            return f"{name}={text[:40]}"
    return ""


def stated_multiplicity(fields: Mapping[str, str]) -> tuple[str, int] | None:
    """The field that states the largest spin multiplicity, and that; None where none does."""
    stated = []
    for name, text in fields.items():
        plain = re.sub("[^a-z0-9]", "", name.lower())
        if SPIN_NAME.fullmatch(plain):
            number = parse_number(text)
            # a spin of 0 is a singlet where unpaired electrons are counted
            value = SPINS.get(text.strip().lower()) if number is None else max(1, round(number))
        elif UNPAIRED_NAME.fullmatch(plain):
            number = parse_number(text)
            value = None if number is None else 1 + round(abs(number))
        elif MOMENT_NAME.fullmatch(plain):
            moment = _sum_of(text, absolute=True)
            value = None if moment is None else 1 + round(moment)
        else:
            continue
        if value is not None:
            stated.append((name, value))
    return max(stated, key=lambda pair: pair[1], default=None)


def parse_charge(text: str) -> float | None:
    """A charge as 1, +1, 1+, 1.0, ++ or in words; several numbers are those of the atoms, and
    summed. None for anything else, as `unknown`.
    """
    text = text.strip().lower().replace("\u2212", "-").replace("\u2013", "-")
    if text in WORDS:
        return WORDS[text]
    if (number := parse_number(text)) is not None:
        return number
    if not (match := SIGNED.fullmatch(text)) or not text.strip("e"):
        return _sum_of(text)
    before, digits, after = match.groups()
    sign = -1.0 if "-" in before + after else 1.0
    return sign * (float(digits) if digits.strip(".") else len(before + after))


def _sum_of(text: str, absolute: bool = False) -> float | None:
    """Sum of numbers, rounded: partial charges of atoms sum to that of the molecule up to their
    last digits."""
    numbers = [parse_number(word) for word in re.split(r"[\s,;\[\]()]+", text) if word]
    if not numbers or any(number is None or abs(number) == float("inf") for number in numbers):
        return None
    values = [number or 0.0 for number in numbers]
    total = sum(map(abs, values)) if absolute else sum(values)
    return float(round(total)) if total == total else None


def read_statement(text: str, electrons: int) -> dict[str, str]:
    """Charge and multiplicity that a title or comment states in words, as fields.

    Args:
        text: running text, which may state nothing.
        electrons: number of electrons of the neutral molecule.
    """
    text = text.strip().lower().replace("\u2212", "-")
    states: dict[str, str] = {}
    if pair := PAIR_TEXT.fullmatch(text):
        charge, multiplicity = int(pair[1]), int(pair[2])
        # an even number of electrons has an odd multiplicity
        if multiplicity and (electrons - charge + multiplicity) % 2:
            return {CHARGE: str(charge), MULTIPLICITY: str(multiplicity)}
    for word in WORD_TEXT.findall(text):
        if word in WORDS:
            states[CHARGE] = f"{WORDS[word]:+g}"
        else:
            states[MULTIPLICITY] = str(SPINS[word])
    if match := CHARGE_TEXT.search(text):
        states[CHARGE] = match[1]
    if match := SPIN_TEXT.search(text):
        states[MULTIPLICITY] = match[1]
    return states


def charge_of_atoms(values: Iterable[str]) -> str | None:
    """The charge of a molecule from a column of its atoms, as text: the one value that all have, or
    that one alone has, or their sum; None where they are no numbers or all empty.
    """
    given = [value.strip() for value in values if value.strip()]
    numbers = [parse_charge(value) for value in given]
    if not numbers or None in numbers:
        return None
    alike = len(set(numbers)) == 1
    total = numbers[0] if alike else _sum_of(" ".join(map(str, numbers)))
    return None if total is None else f"{total:+g}" if total else "0"


def is_charge(name: str) -> bool:
    """Whether a column of atoms holds their charges, or that of the molecule."""
    plain = re.sub("[^a-z0-9]", "", name.lower())
    return bool(CHARGE_NAME.fullmatch(plain) or CHARGES_NAME.fullmatch(plain))


def is_spin(name: str) -> bool:
    """Whether a column of atoms holds spins or magnetic moments."""
    plain = re.sub("[^a-z0-9]", "", name.lower())
    return any(known.fullmatch(plain) for known in (SPIN_NAME, UNPAIRED_NAME, MOMENT_NAME))


def fields_of_atoms(columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Charge and spin of a molecule from columns of its atoms, as fields of the same names."""
    states = {}
    for name, values in columns.items():
        if is_charge(name) and (charge := charge_of_atoms(values)) is not None:
            states[name] = charge
        elif is_spin(name):
            given = [value for value in values if value.strip()]
            moments = MOMENT_NAME.fullmatch(re.sub("[^a-z0-9]", "", name.lower()))
            states[name] = " ".join(given) if moments or len(set(given)) > 1 else given[0]
    return {name: text for name, text in states.items() if text}
