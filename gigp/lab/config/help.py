"""The text of `gigp-train --help`, made from the files in configs."""

import re
import textwrap
from pathlib import Path

from gigp.lab.config.compose import CONFIGS

USAGE = """\
gigp - Group Invariant Global Pooling, on real molecules and digits

  {program} [KEY=VALUE ...]        one run; the same command resumes it, or reports its result
  {program} -m [KEY=V1,V2 ...]     a sweep over all combinations
  {program} --cfg job              the whole configuration, every key with its value

Examples
  {program} dataset=qm9 pool=gigp
  {program} dataset=qm9 target=r2 group=SE3 pool=mean scale=debug logger=csv
  {program} -m dataset=qm9 pool=gigp,mean,sum seed=0,1,2
"""
# in this order; others follow by name
FIRST = ("dataset", "pool", "group", "backbone", "scale", "logger", "trainer", "launcher")
WIDTH = 100


def help_text(program: str = "gigp-train") -> str:
    """Usage of the program, the choices of every folder of configs, and the settings of
    configs/config.yaml.
    """
    folders = sorted(path.name for path in CONFIGS.iterdir() if any(path.glob("*.yaml")))
    ordered = [name for name in FIRST if name in folders]
    ordered += [name for name in folders if name not in FIRST]
    choices = "\n".join(_describe_group(CONFIGS / name) for name in ordered)
    settings = "\n".join(
        _entry(f"{key}={value}", comment)
        for key, value, comment in commented_settings(CONFIGS / "config.yaml")
    )
    more = "GROUP.KEY=VALUE sets a key of a file, as pool.orbits=20: see configs/GROUP/OPTION.yaml"
    usage = USAGE.format(program=program)
    return f"{usage}\nChoices (GROUP=OPTION)\n{choices}\nSettings\n{settings}\n  {more}\n"


def first_comment(path: Path) -> str:
    """The comment at the head of a configuration file, up to the first line with a full stop."""
    block = re.search(r"^# (?!@package).+\n(?:# .+\n)*", path.read_text(), re.MULTILINE)
    if block is None:
        return ""
    lines = [line.removeprefix("# ") for line in block[0].splitlines()]
    end = next((n for n, line in enumerate(lines) if line[-1] in ".?!"), 0)
    return " ".join(lines[: end + 1])


def commented_settings(path: Path) -> list[tuple[str, str, str]]:
    """Key, value and comment of the settings on the outermost level that have a comment."""
    return re.findall(r"^(\w+): (\S+) +# (.+)$", path.read_text(), re.MULTILINE)


def _describe_group(folder: Path) -> str:
    entries = [_entry(path.stem, first_comment(path)) for path in sorted(folder.glob("*.yaml"))]
    return "\n".join([f"  {folder.name}", *entries])


def _entry(name: str, text: str) -> str:
    """One aligned line, or more where the text is long."""
    indent = " " * 27
    if not text:
        return f"    {name}"
    return textwrap.fill(
        f"    {name:22} {text}", WIDTH, subsequent_indent=indent, break_on_hyphens=False
    )
