"""All figures of README.md and results/, from a molecule and from the records."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from gigp.lab.molecules.qm9 import QM9
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.figures.evidence import (
    draw_backbone_curves,
    draw_forest,
    draw_head_curves,
    draw_orbits_number,
)
from gigp.lab.study.figures.molecule import draw_idea
from gigp.lab.study.report import Evidence
from gigp.lab.study.tables.table import Table
from gigp.pointcloud import center_points

MOLECULE = 100_000  # index in QM9 of the one that is drawn


def draw_figures(evidence: Evidence, tables: Mapping[str, Table], data: QM9) -> dict[str, str]:
    """The SVG text of every figure that the records have something for, by name of the file.

    Args:
        evidence: the records.
        tables: made from them.
        data: QM9, set up.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder)
        mask = data.mask[MOLECULE]
        pos = center_points(data.positions[MOLECULE][mask][None], mask[mask][None])[0].numpy()
        draw_idea(pos, data.charges[MOLECULE][mask].numpy(), out / "idea.svg")
        numbers = {
            name: table.numbers for name, table in tables.items() if table.numbers is not None
        }
        ending = "_differences"
        pairs = {
            n.removesuffix(ending): table for n, table in numbers.items() if n.endswith(ending)
        }
        draw_forest(pairs, out / "forest.svg")
        backbones = evidence.records.get("qm9_backbone", [])
        draw_backbone_curves(backbones, evidence.published, out / "qm9_backbone_curves.svg")
        experiments = read_experiments()
        for name in ("qm9_outputs", "qm9_features"):
            draw_head_curves(evidence.entries(experiments[name]), out / f"{name}_curves.svg")
        draw_orbits_number(numbers["qm9_ablation"], out / "orbits_number.svg")
        return {path.name: path.read_text() for path in sorted(out.glob("*.svg"))}
