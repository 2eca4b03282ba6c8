"""Draw the figures of README.md and results/ from real molecules and from the records: `python
scripts/make_figures.py`.
"""

import argparse
import sys
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.files import to_path
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.figures.evidence import (
    draw_backbone_curves,
    draw_forest,
    draw_head_curves,
    draw_orbits_number,
)
from gigp.lab.study.figures.molecule import draw_idea
from gigp.lab.study.report import make_tables, read_evidence
from gigp.pointcloud import center_points

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=to_path, default=ROOT / "data", help="folder of QM9's caches"
    )
    parser.add_argument(
        "--molecule", type=int, default=100_000, help="index of the molecule in QM9"
    )
    parser.add_argument("--root", type=to_path, default=ROOT, help="folder that holds results/")
    parser.add_argument("--out", type=to_path, help="results/figures of that folder by default")
    arguments = parser.parse_args()
    out = arguments.out or arguments.root / "results" / "figures"
    qm9 = QM9(root=str(arguments.data), cache=str(arguments.data))
    qm9.setup()
    mask = qm9.mask[arguments.molecule]
    pos = center_points(qm9.positions[arguments.molecule][mask][None], mask[mask][None])[0].numpy()
    draw_idea(pos, qm9.charges[arguments.molecule][mask].numpy(), out / "idea.svg")
    evidence = read_evidence(arguments.root, arguments.data)
    tables = make_tables(evidence)
    pairs = {
        name.removesuffix("_differences"): table.numbers
        for name, table in tables.items()
        if name.endswith("_differences") and table.numbers is not None
    }
    backbones = evidence.records.get("qm9_backbone", [])
    experiments = read_experiments()
    drawn = {
        "idea": True,
        "forest": draw_forest(pairs, out / "forest.svg"),
        "qm9_backbone_curves": draw_backbone_curves(
            backbones, evidence.published, out / "qm9_backbone_curves.svg"
        ),
        **{
            f"{name}_curves": draw_head_curves(
                evidence.entries(experiments[name]), out / f"{name}_curves.svg"
            )
            for name in ("qm9_outputs", "qm9_features")
        },
        "orbits_number": draw_orbits_number(
            tables["qm9_ablation"].numbers, out / "orbits_number.svg"
        ),
    }
    for path in out.glob("*.svg"):
        if not drawn.get(path.stem):
            path.unlink()
    print(f"drew {', '.join(name for name, there in drawn.items() if there)} in {out}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"Error: {error}")
