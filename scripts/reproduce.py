"""Run what a table lacks, then make the tables: `python scripts/reproduce.py --table pools --scale small`.

A table is made of the experiments in configs/experiment whose head says "Table NAME:". Each is a sweep of `train.py`.
Runs that have a record are left out, interrupted ones go on, and one that fails does not stop the others.
"""

import argparse
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from gigp.records import RunFolder, run_name

ROOT = Path(__file__).resolve().parents[1]


def experiments() -> dict[str, list[Path]]:
    """Experiment files by the table that they belong to."""
    tables: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "configs" / "experiment").glob("*.yaml")):
        head = re.search(r"^# Table (\w+):", path.read_text(), re.MULTILINE)
        if head:
            tables.setdefault(head[1], []).append(path)
    return tables


def cells(path: Path, scale: str, further: list[str]) -> list[list[str]]:
    """Overrides of every run of an experiment, in the order of its sweep."""
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"]
    values = [[f"{key}={value}" for value in str(choices).split(",")] for key, choices in params.items()]
    return [[f"experiment={path.stem}", f"scale={scale}", *further, *chosen] for chosen in product(*values)]


def is_missing(overrides: list[str]) -> bool:
    """Whether the run with these overrides has no record, neither made here nor brought by a clone."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("config", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg.copy())  # which choices.* refer to
    with open_dict(cfg):
        del cfg["hydra"]
    config = OmegaConf.to_container(cfg, resolve=True)
    return RunFolder(ROOT / cfg.results_dir, run_name(config, overrides), cfg.seed).summary() is None


def main() -> None:
    tables = experiments()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=[*tables, "all"], default="all")
    parser.add_argument("--scale", choices=["debug", "small", "paper"], default="small")
    parser.add_argument("--dry-run", action="store_true", help="only list the commands of the runs that are missing")
    parser.add_argument("overrides", nargs="*", help="further overrides of every run, KEY=VALUE")
    arguments = parser.parse_args()
    chosen = list(tables) if arguments.table == "all" else [arguments.table]
    wanted = [
        cell for table in chosen for path in tables[table] for cell in cells(path, arguments.scale, arguments.overrides)
    ]
    missing = [cell for cell in wanted if is_missing(cell)]
    print(f"{len(wanted)} runs, {len(wanted) - len(missing)} with a record, {len(missing)} missing.", flush=True)
    failed = []
    for i, cell in enumerate(missing, 1):
        command = [sys.executable, "train.py", *cell]
        print(f"\n{i}/{len(missing)}: python train.py {' '.join(cell)}", flush=True)
        if not arguments.dry_run and subprocess.run(command, cwd=ROOT).returncode:
            failed.append(" ".join(cell))
    if not arguments.dry_run:
        subprocess.run([sys.executable, "scripts/make_tables.py"], cwd=ROOT, check=True)
    if failed:
        sys.exit("FAILED:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
