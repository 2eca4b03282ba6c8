"""Documentation names only what exists: every link, every path and every `gigp.` name in the pages,
the docstrings, comments and messages.
"""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tests.conftest import ROOT

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[dr]*/README.md")})
CODE = sorted({*ROOT.glob("*.py"), *ROOT.glob("gigp/**/*.py"), *ROOT.glob("scripts/**/*.py")})
OTHERS = [*ROOT.glob("docs/*.ipynb"), *ROOT.glob("docs/report/*"), *ROOT.glob("configs/**/*.yaml")]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
PATH = re.compile(r"(?<![\w/.<{-])((?:gigp|configs|tests|scripts|docs)/[\w./*-]*[\w*])(?![\w{/])")
FILE = re.compile(r"`([\w.-]+\.(?:py|c|md|ipynb))`")
CLASS = re.compile(r"`([A-Z]+[a-z]\w{2,})[`(]")
NAME = re.compile(r"(?<![\w/.@])((?:gigp|scripts)(?:\.[A-Za-z_]\w*)+)")
PLACEHOLDERS = {"configs/GROUP/OPTION.yaml"}
FOREIGN = {"ImageFolder", "MeanAggregation", "SumAggregation"}  # classes of other packages
# what the reader of docs/examples.md makes
EXAMPLES = {
    *("gigp/pools/fading.py", "configs/pool/fading.yaml", "gigp.pools.fading.FadingMean"),
    *("gigp/groups/axial.py", "configs/group/Axial.yaml", "gigp.groups.axial.Axial"),
    *("gigp/lab/data/dipoles.py", "configs/dataset/dipoles.yaml", "gigp.lab.data.dipoles.Dipoles"),
}
WORDS = {word for path in CODE for word in re.findall(r"\w+", path.read_text())}
KNOWN = {path.name for path in [*ROOT.glob("*.*"), *ROOT.glob("[gstd]*/**/*.*")]}


def is_defined(name: str) -> bool:
    """Whether a dotted name can be imported."""
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def missing(path: Path, text: str) -> set[str]:
    """What a file names that is not there; links are relative to its folder."""
    links = LINK.findall(text) if path in PAGES else []
    gone = {link for link in links if not (path.parent / link).exists()}
    gone |= {name for name in PATH.findall(text) if not any(ROOT.glob(name))}
    gone |= set(FILE.findall(text)) - KNOWN
    if path in PAGES:
        gone |= set(CLASS.findall(text)) - WORDS - set(re.findall(r"class (\w+)", text))
    gone |= {name for name in NAME.findall(text) if not is_defined(name)}
    return gone - EXAMPLES - PLACEHOLDERS - FOREIGN


def test_only_what_exists_is_named():
    files = [*PAGES, *CODE, *OTHERS, ROOT / "Makefile"]
    gone = {str(path.relative_to(ROOT)): missing(path, path.read_text()) for path in files}
    assert {path: names for path, names in gone.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        "[this](docs/gone.md)",
        "see `gigp/datasets/loader.py`",
        "`gone.py` has it",
        "`Packing` groups clouds",
        "`gigp.pools.GIGPool`",
        "gigp.training.run",
    ],
)
def test_what_does_not_exist_is_found(text):
    assert missing(ROOT / "README.md", text)
