"""Work through a list of runs for so many minutes, several side by side, and go on next time.

    python scripts/run_queue.py scripts/gpu_queue.txt --jobs 4 --minutes 40 --runs /scratch/runs

Each line of the list holds the overrides of one run, the most valuable first; `#` begins a comment,
and the runs below an empty line begin when all above it have ended, as pools on the features of a
network. At the end of the time the runs are interrupted; the same command goes on from their last
finished epochs, skips what is finished, and on another machine takes over the folder of an earlier
call by `--from`. A run folder is whole at any moment, so the process may be killed as well.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.commands import refuse
from gigp.lab.files import read_bytes, to_path
from gigp.lab.runs.compare import find_runs
from gigp.lab.study.collect import collect, describe
from gigp.lab.study.experiments import read_experiments
from gigp.lab.training.sweep import PARENT

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 1 << 20  # bytes of a list
POLL_SECONDS = 0.2
END_SECONDS = 60  # that a run may take to end when it is interrupted


def read_queue(path: Path) -> list[list[list[str]]]:
    """Blocks of runs, each a list of overrides; a block waits for those before it.

    Raises:
        InputError: the file cannot be read, a word of it is no override, or it has no runs.
    """
    try:
        text = read_bytes(path, LONGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of runs ({error}).") from None
    blocks: list[list[list[str]]] = [[]]
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}.") from None
        if wrong := [word for word in words if "=" not in word]:
            raise InputError(
                f"{path}, line {number}: {wrong[0]!r} is no override; write KEY=VALUE."
            )
        if words:
            blocks[-1].append(words)
        elif not line.strip():
            blocks.append([])
    blocks = [block for block in blocks if block]
    if not blocks:
        raise InputError(f"{path} has no runs; write the overrides of one in each line.")
    return blocks


def take_over(source: Path, runs: Path) -> None:
    """Copy the run folders of an earlier call, those that are here already left out."""
    for path in sorted(source.glob("*/seed*")):
        target = runs / path.relative_to(source)
        if not target.exists():
            unfinished = target.with_name(f".{target.name}.copy")
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(path, unfinished)
            unfinished.rename(target)


class Queue:
    """Runs side by side until a time is over.

    Args:
        runs: folder of the run folders.
        jobs: number of runs at a time; they share the cores.
        minutes: time in all.

    Attributes:
        failed: what each run that has failed is called, with the last line that it printed.
        finished: number of runs that are finished.
    """

    def __init__(self, runs: Path, jobs: int, minutes: float) -> None:
        self.runs, self.jobs, self.end = runs, jobs, time.monotonic() + 60 * minutes
        self.failed: list[str] = []
        self.finished = 0

    def work(self, block: Sequence[Sequence[str]]) -> bool:
        """Do the runs of a block.

        Returns:
            Whether all have ended before the time was over.
        """
        waiting, active = list(block), list[tuple[str, subprocess.Popen, Path]]()
        try:
            while (waiting or active) and time.monotonic() < self.end:
                while waiting and len(active) < self.jobs:
                    active.append(self._start(waiting.pop(0)))
                time.sleep(POLL_SECONDS)
                for each in [each for each in active if each[1].poll() is not None]:
                    active.remove(each)
                    self._note(*each)
        finally:
            self._interrupt(process for _, process, _ in active)
        return not (waiting or active)

    def _start(self, overrides: Sequence[str]) -> tuple[str, subprocess.Popen, Path]:
        name = " ".join(overrides)
        print(f"{time.strftime('%H:%M:%S')} begins: {name}", flush=True)
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), PARENT: str(os.getpid())}
        log = self.runs / f"queue-{len(list(self.runs.glob('queue-*.log'))):04d}.log"
        command = [sys.executable, "train.py", *overrides, f"results_dir={self.runs}"]
        with open(log, "w") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT
            )
        return name, process, log

    def _note(self, name: str, process: subprocess.Popen, log: Path) -> None:
        lines = log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
        if process.returncode:
            self.failed.append(f"{name}: {lines[-1]}")
        else:
            self.finished += 1
        verdict = "FAILED" if process.returncode else "finished"
        print(f"{time.strftime('%H:%M:%S')} {verdict}: {name}", flush=True)

    @staticmethod
    def _interrupt(processes: Iterator[subprocess.Popen]) -> None:
        active = list(processes)
        for process in active:
            process.terminate()
        for process in active:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("queue", type=to_path, help="list of runs")
    parser.add_argument("--runs", type=to_path, default=ROOT / "results" / "runs")
    parser.add_argument("--from", dest="source", type=to_path, help="runs of an earlier call")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--records", type=to_path, help="folder that finished runs are put into")
    arguments = parser.parse_args()
    if arguments.jobs < 1 or not arguments.minutes > 0:
        parser.error("--jobs and --minutes must be larger than 0")
    arguments.runs = arguments.runs.absolute()
    return arguments


def main() -> None:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        blocks = read_queue(arguments.queue)
        if arguments.source is not None:
            take_over(arguments.source, arguments.runs)
        arguments.runs.mkdir(parents=True, exist_ok=True)
        queue = Queue(arguments.runs, arguments.jobs, arguments.minutes)
        done = all(queue.work(block) for block in blocks)
        if arguments.records is not None:
            collected = collect(find_runs(arguments.runs), arguments.records, read_experiments())
            print("\n".join(describe(collected, ROOT)))
    except InputError as error:
        refuse(error)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on from the last finished epochs.")
    total = sum(map(len, blocks))
    print(f"{queue.finished} of {total} runs are finished, {len(queue.failed)} have failed.")
    if not done:
        print("The time is over. The same command goes on from the last finished epochs.")
    if queue.failed:
        sys.exit("\n".join(queue.failed))


if __name__ == "__main__":
    main()
