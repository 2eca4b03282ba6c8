"""How a study of 1,000 runs behaves: `python scripts/thousand_runs.py`; writes results/studies/thousand_runs.md.

Several processes go through the same 1,000 cells, each in an order of its own, as the jobs of a sweep that was started
several times over would. The cells go through the folders, locks and records of real runs; training is replaced by
writing what it writes, but for a sample that trains for real. Processes are killed at random moments and start again.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise, product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
POOLS = ["gigp", "mean", "sum", "max", "one_orbit"]
REAL = 2  # seeds of one cell in each pool that train for real
REPORT = """# A study of 1,000 runs

Made by `python scripts/thousand_runs.py`: {workers} processes go through the same {num:,} cells ({real} of them
trained for real at `scale=debug`), each in an order of its own; one is killed with SIGKILL at a random moment {kills}
times and starts again.

| what | result |
| --- | --- |
| records | {records:,} of {num:,}, {damaged} damaged |
| runs finished by two processes | {twice} |
| moments with two processes in one folder | {overlaps} |
| runs whose process was killed within, finished by another | {rescued} |
| folder found busy and left to the other process | {busy:,} |
| one process going through all {num:,} finished runs | {skip:.1f} s |
| the same by `python train.py -m`, for each run | {sweep:.0f} ms |
| tables over {num:,} records (`scripts/make_tables.py`) | {tables:.1f} s |
"""


def cells(num: int) -> list[tuple[str, int]]:
    """Pools and seeds of the study."""
    return list(product(POOLS, range(num // len(POOLS))))


def overrides(pool: str, seed: int, root: Path) -> list[str]:
    """Command line of a cell that trains for real, or would."""
    sizes = [f"dataset.{part}_size={size}" for part, size in (("train", 75), ("val", 20), ("test", 20))]
    return [f"pool={pool}", f"seed={seed}", "scale=debug", "logger=csv", "trainer.max_epochs=1",
            "trainer.accelerator=cpu", f"results_dir={root}/results/runs", *sizes]  # fmt: skip


def compose(arguments: list[str]):
    """The configuration of a command line, as train.py sees it."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    with hydra.initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = hydra.compose("config", arguments, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg.copy())
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def work(root: Path, num: int, order: int) -> None:
    """Go through all cells, as `gigp.run.run` does, and keep a diary of what was begun and finished."""
    from omegaconf import OmegaConf

    from gigp.errors import InputError
    from gigp.records import RunFolder, run_name, write_atomically
    from gigp.run import run

    record = json.loads((root / "record.json").read_text())
    config = OmegaConf.to_container(compose(overrides("gigp", 0, root)), resolve=True)
    todo = cells(num)
    random.Random(order).shuffle(todo)
    diary = open(root / f"diary-{os.getpid()}.txt", "a", buffering=1)  # noqa: SIM115
    for pool, seed in todo:
        line = overrides(pool, seed, root)
        mine = config | {"seed": seed, "choices": config["choices"] | {"pool": pool}}
        folder = RunFolder(root / "results" / "runs", run_name(mine, line), seed)
        try:
            if seed < REAL:
                if folder.finished() is None:
                    diary.write(f"{time.time()} begin {pool} {seed}\n")
                    run(compose(line), line)
                    diary.write(f"{time.time()} end {pool} {seed}\n")
                continue
            with folder.lock():
                if folder.finished() is None:
                    diary.write(f"{time.time()} begin {pool} {seed}\n")
                    folder.open(mine)
                    folder.checkpoints.mkdir(exist_ok=True)
                    for epoch in range(3):
                        write_atomically(folder.metrics, "epoch\n" + "".join(f"{e}\n" for e in range(epoch + 1)))
                        write_atomically(folder.last, f"epoch {epoch}")
                        time.sleep(0.01)
                    choices = mine["choices"] | {"scale": "small"}  # debug runs are in no table
                    folder.finish(record | {"name": folder.name, "seed": seed, "choices": choices})
                    diary.write(f"{time.time()} end {pool} {seed}\n")
        except InputError as error:
            if "another process" not in str(error):
                raise
            diary.write(f"{time.time()} busy {pool} {seed}\n")


def compete(root: Path, num: int, workers: int, kills: int) -> None:
    """Let several processes work, kill some, start them again, until all have seen every cell."""
    chance = random.Random(0)

    def start(order: int) -> subprocess.Popen:
        line = [sys.executable, __file__, "--work", str(order), "--root", str(root), "--num", str(num)]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL)

    processes = {order: start(order) for order in range(workers)}
    while any(process.poll() is None for process in processes.values()):
        time.sleep(chance.uniform(0.5, 4))
        order = chance.randrange(workers)
        if kills and processes[order].poll() is None and list(root.glob(f"diary-{processes[order].pid}.txt")):
            processes[order].send_signal(signal.SIGKILL)
            processes[order].wait()
            processes[order] = start(order)
            kills -= 1
    start(workers).wait()  # what was busy everywhere, or begun by a process that was killed last
    if kills:
        sys.exit(f"the processes ended before {kills} more could be killed; use more runs.")


def read_diaries(root: Path) -> dict[str, int]:
    """Count what must not happen, and what did."""
    ends, busy, spans = Counter(), 0, {}
    for path in root.glob("diary-*.txt"):
        begun: dict[str, float] = {}
        for line in path.read_text().splitlines():
            moment, what, *cell = line.split(" ")
            name = " ".join(cell)
            if what == "begin":
                begun[name] = float(moment)
            elif what == "end":
                ends[name] += 1
                spans.setdefault(name, []).append((begun.pop(name), float(moment)))
            else:
                busy += 1
        for name in begun:  # the process was killed within, or the folder of a run that trains was busy
            spans.setdefault(name, []).append(None)
    whole = {name: sorted(s for s in all_spans if s) for name, all_spans in spans.items()}
    return {
        "twice": sum(count > 1 for count in ends.values()),
        "overlaps": sum(a[1] > b[0] for s in whole.values() for a, b in pairwise(s)),
        "rescued": sum(None in all_spans and bool(whole[name]) for name, all_spans in spans.items()),
        "busy": busy,
    }


def seconds(command: list[str]) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=1000, help="runs")
    parser.add_argument("--workers", type=int, default=6, help="processes")
    parser.add_argument("--kills", type=int, default=20, help="processes killed")
    parser.add_argument("--report", type=Path, default=ROOT / "results" / "studies" / "thousand_runs.md")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        work(arguments.root, arguments.num, arguments.work)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        numbers = study(root, arguments.num, arguments.workers, arguments.kills)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(REPORT.format(**numbers))
    print(arguments.report.read_text())


def study(root: Path, num: int, workers: int, kills: int) -> dict[str, float]:
    """Everything that the report says, by name."""
    train = [sys.executable, str(ROOT / "train.py")]
    seconds([*train, *overrides("gigp", 0, root / "first"), "name=first"])
    record = next((root / "first").glob("results/runs/*/seed0/summary.json"))
    (root / "record.json").write_text(record.read_text())
    compete(root, num, workers, kills)
    paths = list((root / "results" / "runs").glob("*/seed*/summary.json"))
    damaged = 0
    for path in paths:
        try:
            damaged += json.loads(path.read_text())["seed"] != int(path.parent.name.removeprefix("seed"))
        except ValueError:
            damaged += 1
    counts = read_diaries(root)
    again = [sys.executable, __file__, "--root", str(root), "--num", str(num), "--work", str(workers + 1)]
    skip = seconds(again)
    line = [part for part in overrides("gigp", 0, root) if not part.startswith(("pool=", "seed="))]
    several = [seconds([*train, "-m", "pool=gigp", f"seed=range({n})", *line]) for n in (2, 42)]
    (root / "README.md").write_text("<!-- results: make_tables.py -->\n<!-- end of results -->\n")
    tables = seconds([sys.executable, "scripts/make_tables.py", "--root", str(root)])
    return {
        "num": num, "workers": workers, "kills": kills, "real": REAL * len(POOLS), "records": len(paths),
        "damaged": damaged, **counts, "skip": skip, "sweep": 1000 * (several[1] - several[0]) / 40, "tables": tables,
    }  # fmt: skip


if __name__ == "__main__":
    main()
