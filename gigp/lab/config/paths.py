"""Paths among the settings, taken as they are but for ~, and folders of trained networks."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gigp.lab.files import to_path

LAB = Path(__file__).resolve().parents[1]
# models that come with the project: in a wheel within the package, in a checkout in results
WITHIN = LAB / "models"
MODELS = WITHIN if WITHIN.is_dir() else LAB.parents[1] / "results" / "models"
# settings whose values are paths
PATH_KEYS = {
    "init_from",
    "results_dir",
    "dataset.run",
    "dataset.root",
    "dataset.cache",
    "dataset.path",
}
# what Hydra's grammar reads as one plain text
PLAIN = re.compile(r"(?!(?i:true|false|nan|inf)$)([A-Za-z_]|[\w.-]*/)[\w./-]*", re.ASCII)
# values in Hydra's own grammar: quotes, a reference, a function, nothing
GRAMMAR = re.compile(r"""'.*'|".*"|.*\$\{.*\}.*|[a-z]+\(.*\)|null|\?\?\?|""", re.DOTALL)


def quote_paths(arguments: Sequence[str], multirun: bool = False) -> list[str]:
    """Quote the paths on a command line that Hydra's grammar would not read, and replace ~ by the
    home folder.

    Older run folders have `=` in their names; other folders may have spaces, `#`, `~` or brackets.

    Args:
        arguments: words of the command line.
        multirun: a comma separates the values of a sweep; else it belongs to the path.
    """
    return [_quoted(argument, multirun) for argument in arguments]


def _quoted(argument: str, multirun: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key.lstrip("+") not in PATH_KEYS:
        return argument
    values = value.split(",") if multirun and not GRAMMAR.fullmatch(value) else [value]
    return f"{key}=" + ",".join(_quoted_value(below_home(value)) for value in values)


def below_home(text: str) -> str:
    """A path with the home folder in place of ~ at its start; see `gigp.lab.files.to_path`."""
    return str(to_path(text)) if text.startswith("~") else text


def expand_home(cfg: DictConfig) -> None:
    """Replace ~ by the home folder in all paths of a configuration that has all its values."""
    for key in sorted(PATH_KEYS):
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and below_home(value) != value:
            OmegaConf.update(cfg, key, below_home(value))


def _quoted_value(value: str) -> str:
    if PLAIN.fullmatch(value) or GRAMMAR.fullmatch(value):
        return value
    # a backslash escapes only before a quote
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def trained_network(results_dir: str, run: str) -> str:
    """Folder of a network that the study starts from: the one in results/models, if that is there,
    or else the run. In a configuration: `${trained:${results_dir},NAME/seed0}`.

    Args:
        results_dir: folder of the runs.
        run: name of the run and its seed, as `qm9_backbone_medium/seed0`.
    """
    model = MODELS / run
    if not (model / "config.yaml").exists():
        return f"{results_dir}/{run}"
    here = Path.cwd()
    return str(model.relative_to(here) if model.is_relative_to(here) else model)
