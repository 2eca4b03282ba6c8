"""Is the gain of a pool noise reduction? The same comparison on a network whose predictions vary
with the orientation of a molecule, on their average over orientations, and on an exactly invariant
network.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gigp.lab.study.statistics import Interval, paired_interval
from gigp.lab.study.tables.claims import PRIMARY
from gigp.lab.study.tables.differences import OURS
from gigp.lab.study.tables.results import TableRow
from gigp.lab.study.tables.table import Table

AGAINST = ("mean", "one_orbit")
NETWORKS = {  # table, and the field of a metric
    "T(3), one orientation": ("qm9_outputs_rotations", "test"),
    "T(3), averaged": ("qm9_outputs_rotations", "averaged"),
    "E(3)": ("qm9_e3_outputs", "test"),
}
NOTE = (
    "Error of GIGP minus that of another pool under protocol P, in percent of the latter, with 95% "
    "interval by Student's t over seeds. On T(3) pools train in random orientations of each "
    "molecule, and are tested in one, and averaged over 24; E(3) gives the same in all. If a gain "
    "were noise reduction, it would vanish in the second and the third column."
)


def noise_table(rows: Mapping[str, Sequence[TableRow]]) -> Table:
    """GIGP against mean pooling and a single orbit, a column for each network.

    Args:
        rows: rows by table.
    """
    shown = []
    for other in AGAINST:
        for target in PRIMARY:
            cells = {
                network: _cell(rows[table], other, target, field)
                for network, (table, field) in NETWORKS.items()
            }
            shown.append({"GIGP minus": f"`{other}`", "target": target} | cells)
    return Table("noise", [NOTE], pd.DataFrame(shown))


def _cell(entries: Sequence[TableRow], other: str, target: str, field: str) -> str:
    """Difference with its interval, in percent, and the number of seeds."""
    by_pool = {entry.label: _errors(entry, target, field) for entry in entries}
    ours, theirs = by_pool.get(OURS, {}), by_pool.get(other, {})
    if not (seeds := sorted(ours.keys() & theirs.keys())):
        return "not run"
    first, second = (np.array([errors[seed] for seed in seeds]) for errors in (ours, theirs))
    found: Interval = paired_interval(first, second)
    mean, low, high = (100 * x / second.mean() for x in (found.mean, found.low, found.high))
    if len(seeds) == 1:
        return f"{mean:+.1f}, one seed"
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}], {len(seeds)} seeds"


def _errors(entry: TableRow, target: str, field: str) -> dict[int, float]:
    """Test error by seed, where it is known."""
    errors = {
        seed: getattr(record.metrics[target], field)
        for seed, record in entry.runs.get(target, {}).items()
    }
    return {seed: error for seed, error in errors.items() if error is not None}
