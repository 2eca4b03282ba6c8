"""How a study of 1,000 runs behaves: `python tests/lab/faults/thousand_runs.py`; writes
results/studies/thousand_runs.md.

Several processes go through the same 1,000 cells, each in an order of its own, as if a sweep had
been started several times over. The cells go through the folders, locks and records of real runs;
training is replaced by writing what it writes, but for some cells that train for real. Processes
are killed at random moments, and others start.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
# which has imported everything, so that processes start at once
FORK = multiprocessing.get_context("forkserver")
POOLS = ["gigp", "mean", "sum", "max", "one_orbit"]
TARGETS = ["mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "H", "Cv"]
REAL = ("homo", 2)  # target and number of seeds that train for real
EPOCHS = 3
REPORT = """# A study of 1,000 runs

Made by `python tests/lab/faults/thousand_runs.py`: {workers} processes go through the same {num:,}
cells, each in an order of its own; {real} of them train for real at `scale=debug`, the others do
all that a run does with its folder, without training. A process is killed with SIGKILL at a
random moment, {kills} times, and another starts. Times are of the CPU, which does not count what
else the machine was doing; they include the start of Python and imports.

| what | result |
| --- | --- |
| records | {records:,} of {num:,} |
| records lost or damaged | {lost} |
| runs done twice | {twice} |
| moments with two processes in one folder | {overlaps} |
| runs whose process was killed within, done by another | {rescued} of {hit} |
| times that a folder was busy and left to the other process | {busy:,} |
| another process goes through all {num:,} runs when they are finished | {skip:.1f} s |
| `python train.py -m`, for each further run that is finished | {sweep:.2f} s |
"""


def cells(num: int) -> list[tuple[str, str, int]]:
    """Targets, pools and seeds of the study."""
    return list(product(TARGETS, POOLS, range(num // len(POOLS) // len(TARGETS))))


def overrides(target: str, pool: str, seed: int, root: Path) -> list[str]:
    """Command line of a cell."""
    sizes = [
        f"dataset.{part}_size={size}" for part, size in (("train", 75), ("val", 20), ("test", 20))
    ]
    places = [f"dataset.{key}={ROOT / 'data'}" for key in ("root", "cache")]
    return [
        f"target={target}",
        f"pool={pool}",
        f"seed={seed}",
        "scale=debug",
        "logger=csv",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        f"results_dir={root}/results/runs",
        *places,
        *sizes,
    ]


def work(root: Path, num: int, order: int) -> None:
    """Go through all cells as `gigp.lab.training.run.run` does, with a log of who was in which
    folder.
    """
    from omegaconf import OmegaConf

    import gigp.lab.training.run
    from gigp.errors import InputError
    from gigp.lab.config.compose import compose_config
    from gigp.lab.files import write_atomically
    from gigp.lab.runs.folder import RunFolder
    from gigp.lab.runs.name import run_name
    from gigp.lab.runs.record import Record, read_record

    os.chdir(ROOT)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    gigp.lab.training.run.console.quiet = True
    diary = open(root / f"diary-{os.getpid()}.txt", "a", buffering=1)  # noqa: SIM115

    class Watched(RunFolder):
        """A run's folder that tells the diary who is in it."""

        def lock(self) -> "Watch":
            return Watch(super().lock(), diary, f"{self.name} {self.seed}")

        def finish(self, record: Record) -> None:
            super().finish(record)
            diary.write(f"{time.time()} finish {self.name} {self.seed}\n")

    gigp.lab.training.run.RunFolder = Watched
    record = read_record(root / "record.json")
    config = OmegaConf.to_container(
        compose_config(overrides("homo", "gigp", 0, root)), resolve=True
    )
    todo = cells(num)
    random.Random(order).shuffle(todo)
    for target, pool, seed in todo:
        line = overrides(target, pool, seed, root)
        choices = config["choices"] | {"pool": pool}
        mine = config | {"seed": seed, "target": target, "choices": choices}
        folder = Watched(root / "results" / "runs", run_name(mine, line), seed)
        try:
            if target == REAL[0] and seed < REAL[1]:
                gigp.lab.training.run.run(compose_config(line), line)
                continue
            with folder.lock():
                if folder.finished() is None:
                    folder.check(mine)
                    folder.begin(mine)
                    folder.checkpoints.mkdir(exist_ok=True)
                    for epoch in range(EPOCHS):
                        write_atomically(folder.metrics, "val/loss\n" + "1\n" * (epoch + 1))
                        write_atomically(folder.last, f"epoch {epoch}")
                        time.sleep(0.02)
                    # else: no table
                    own = replace(
                        record,
                        name=folder.name,
                        seed=seed,
                        choices=choices | {"scale": "small"},
                        metrics={target: record.metrics["homo"]},
                    )
                    folder.finish(own)
        except InputError as error:
            if "another process" not in str(error):
                raise
            diary.write(f"{time.time()} busy {folder.name} {seed}\n")


class Watch:
    """A lock, with lines in a diary when it is had and before it is given up."""

    def __init__(self, lock, diary, name: str) -> None:
        self.lock, self.diary, self.name = lock, diary, name

    def __enter__(self) -> None:
        self.lock.__enter__()
        self.diary.write(f"{time.time()} enter {self.name}\n")

    def __exit__(self, *error: object) -> bool | None:
        self.diary.write(f"{time.time()} leave {self.name}\n")
        return self.lock.__exit__(*error)


def compete(root: Path, num: int, workers: int, kills: int) -> None:
    """Let several processes work, kill some and start others, until all have seen every cell."""
    chance = random.Random(0)

    def start(order: int) -> FORK.Process:
        process = FORK.Process(target=work, args=(root, num, order))
        process.start()
        return process

    processes, left = [start(order) for order in range(workers)], kills
    while any(process.is_alive() for process in processes):
        time.sleep(chance.uniform(0.1, 1.5))
        order = chance.randrange(workers)
        diary = root / f"diary-{processes[order].pid}.txt"
        if left and processes[order].is_alive() and diary.exists():
            processes[order].kill()
            processes[order].join()
            with open(diary, "a") as file:
                file.write(f"\n{time.time()} killed\n")
            left -= 1
            processes[order] = start(workers + kills - left)
    if left or any(process.exitcode for process in processes):
        codes = [process.exitcode for process in processes]
        sys.exit(
            f"Error: {left} kills were left when all was done, exit codes {codes}; give a larger "
            "--num."
        )
    start(2 * workers + kills).join()  # for what was busy everywhere


def read_diaries(root: Path) -> dict[str, int]:
    """Count forbidden events, and all others."""
    finished, busy, spans, hit = Counter(), 0, {}, set()
    for path in root.glob("diary-*.txt"):
        entered: dict[str, float] = {}
        for line in filter(None, path.read_text().splitlines()):
            moment, what, *cell = line.split(" ")
            name = " ".join(cell)
            busy += what == "busy"
            finished[name] += what == "finish"
            if what == "enter":
                entered[name] = float(moment)
            elif what == "leave":
                spans.setdefault(name, []).append((entered.pop(name), float(moment)))
            elif what == "killed":
                hit |= entered.keys()
                for within in entered:
                    spans.setdefault(within, []).append((entered[within], float(moment)))
    return {
        "twice": sum(count > 1 for count in finished.values()),
        "busy": busy,
        "hit": len(hit),
        "rescued": sum(finished[name] == 1 for name in hit),
        "overlaps": sum(a[1] > b[0] for mine in spans.values() for a, b in pairwise(sorted(mine))),
    }


def seconds(command: list[str]) -> float:
    """CPU time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"Error: {' '.join(command)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def study(root: Path, num: int, workers: int, kills: int) -> dict[str, object]:
    """All values of the report, by name."""
    seconds(["train.py", *overrides("homo", "gigp", 0, root / "first"), "name=first"])
    shutil.copy(
        root / "first" / "results" / "runs" / "first" / "seed0" / "summary.json",
        root / "record.json",
    )
    compete(root, num, workers, kills)
    counts, found = (
        read_diaries(root),
        list((root / "results" / "runs").glob("*/seed*/summary.json")),
    )
    whole = [path for path in found if is_whole(path)]
    real = [
        part
        for part in overrides("homo", "gigp", 0, root)
        if not part.startswith(("pool=", "seed="))
    ]
    one, all_real = (
        seconds(["train.py", "-m", f"pool={pools}", f"seed=range({seeds})", *real])
        for pools, seeds in ((POOLS[0], 1), (",".join(POOLS), REAL[1]))
    )
    trained = len(POOLS) * REAL[1]
    return {
        "num": num,
        "workers": workers,
        "kills": kills,
        "real": trained,
        "records": len(found),
        "lost": num - len(whole),
        **counts,
        "sweep": (all_real - one) / (trained - 1),
        "skip": seconds([__file__, "--skip", str(root), "--num", str(num)]),
    }


def is_whole(path: Path) -> bool:
    """Whether a record can be read and is that of its folder."""
    try:
        record = json.loads(path.read_text())
    except ValueError:
        return False
    return (record["name"], f"seed{record['seed']}") == (path.parent.parent.name, path.parent.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=1000, help="runs, a multiple of 50")
    parser.add_argument("--workers", type=int, default=4, help="processes")
    parser.add_argument("--kills", type=int, default=20, help="processes killed")
    parser.add_argument(
        "--report", type=Path, default=ROOT / "results" / "studies" / "thousand_runs.md"
    )
    parser.add_argument("--skip", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.skip:
        work(arguments.skip, arguments.num, 0)
        return
    FORK.set_forkserver_preload(
        [
            "gigp.lab.training.run",
            "gigp.lab.molecules.qm9",
            "gigp.lab.study.experiments",
            "torchmetrics",
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        numbers = study(Path(folder), arguments.num, arguments.workers, arguments.kills)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(REPORT.format(**numbers))
    print(arguments.report.read_text())


if __name__ == "__main__":
    main()
