"""The comment line of a frame: a name, or pairs key=value as ASE reads them."""

import re

CLOSING = {'"': '"', "'": "'", "{": "}", "[": "]"}
NAMES = ("name", "title", "id", "label", "identifier", "molecule", "molecule_name", "mol_id")
OF_QM9 = re.compile(r"(gdb\s+\d+)\s+\d+\.\d.*")  # and rotational constants and properties


def parse_comment(comment: str) -> dict[str, str]:
    """Pairs of a comment line as ASE reads them: key=value, where quotes ("..." or '...') and
    brackets hold values with spaces, a backslash protects a character, and a key alone is T.
    """
    pairs: dict[str, str] = {}
    key, last, closing, escaped, quoted = None, "", "", False, False
    text: list[str] = []  # characters
    for char in [*comment.strip(), " "]:
        if escaped:
            text.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif closing:
            if char == closing:
                closing = ""
            else:
                text.append(char)
        elif char in CLOSING:
            closing, quoted = CLOSING[char], True
        elif char == "=" and key is None:
            key, quoted = "".join(text) or last, False
            text.clear()
        elif not char.isspace():
            text.append(char)
        elif text or quoted:
            word = "".join(text)
            last = word if key is None else key
            pairs[last] = "T" if key is None else word
            key, quoted = None, False
            text.clear()
    return pairs


def find_name(comment: str) -> str:
    """The name of a molecule: the value of name=, title= or the like; else the words before the
    first pair; the whole comment where it has no pairs.
    """
    comment = comment.strip()
    if match := OF_QM9.fullmatch(comment):
        return match[1]
    if "=" not in comment:
        return comment
    pairs = {key.lower(): value for key, value in parse_comment(comment).items()}
    given = next((pairs[key] for key in NAMES if key in pairs), None)
    if given is not None:
        return given
    words = comment.partition("=")[0].split()
    return " ".join(words[:-1])
