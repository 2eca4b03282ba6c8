"""Published figures of others, to compare with ours; results/published.yaml names their source
and budget.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gigp.errors import InputError
from gigp.lab.study.tables.results import NOT_ASKED

Published = dict[str, Any]


def read_published(path: Path) -> Published:
    """The file results/published.yaml.

    Raises:
        InputError: it is not there.
    """
    if not path.is_file():
        raise InputError(
            f"there is no {path}; --root names a folder with results/, as a checkout has."
        )
    return yaml.safe_load(path.read_text())


def published_figure(published: Published, dataset: str, group: str, target: str) -> str:
    """A published test figure, or nothing; the main table goes before the table of groups."""
    for table, groups in published.get(dataset, {}).items():
        if table != "train" and target in groups.get(group, {}):
            return groups[group][target]
    return ""


def published_row(
    published: Published, dataset: str, group: str, columns: Sequence[str]
) -> dict[str, str]:
    """A row for a table of results.

    Args:
        published: see `read_published`.
        dataset: `qm9` or `rotmnist`.
        group: symmetry of the backbone, such as `T(3)`.
        columns: columns of the table, as `homo, meV`.
    """
    label = f"published: {published['source']}, {published[dataset]['train']} (not run here)"
    figures = {
        column: published_figure(published, dataset, group, column.partition(",")[0]) or NOT_ASKED
        for column in columns
    }
    return {"pool": label} | figures
