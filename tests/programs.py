"""The project's programs, each in a process of its own, as from the command line.

The processes are forked from a server that has imported the libraries and nothing of the project,
so that one starts at once where `python train.py` takes ten seconds for imports.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

import pytest

from tests.conftest import ROOT

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(
    [
        "hydra",
        "lightning",
        "matplotlib.backends.backend_svg",
        "pandas",
        "torch_geometric.datasets",
        "torchmetrics",
        "torchvision",
    ]
)


class Program:
    """A script at work; what `subprocess.Popen` tells of a process, of a forked one.

    Args:
        script, arguments: words after `python`; a relative script is in the project's root.
        cwd: folder to work in.
        env: environment, in place of this process's own.
    """

    def __init__(
        self, script: str, *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] = os.environ
    ) -> None:
        # reports, which take a second to draw, have tests of their own
        quick = ("report=false",) if script == "train.py" and arguments else ()
        self.arguments = (str(ROOT / script), *quick, *arguments)
        self.out, self.err = (
            Path(tempfile.mkstemp(suffix=f".{name}")[1]) for name in ("out", "err")
        )
        self.process = FORK.Process(
            target=_work, args=(self.arguments, str(cwd), dict(env), self.out, self.err)
        )
        self.process.start()

    def poll(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, how: signal.Signals) -> None:
        os.kill(self.process.pid, how)

    def wait(self, timeout: float = 280) -> CompletedProcess:
        """Exit status and what it printed."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutExpired(self.arguments, timeout)
        done = CompletedProcess(
            self.arguments, self.process.exitcode, self.out.read_text(), self.err.read_text()
        )
        self.out.unlink()
        self.err.unlink()
        return done


def run_program(
    script: str, *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] = os.environ
) -> CompletedProcess:
    """`python SCRIPT ARGUMENTS`, to its end."""
    return Program(script, *arguments, cwd=cwd, env=env).wait()


def run_here(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    *arguments: str,
) -> CompletedProcess:
    """A script in this process, for what ends before it trains: a message, or a list."""
    monkeypatch.setattr(sys, "argv", [str(ROOT / script), *arguments])
    code: str | int | None = 0
    capsys.readouterr()
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    if isinstance(code, str):  # which Python prints at its end
        code, err = 1, f"{err}{code}\n"
    return CompletedProcess(arguments, code or 0, out, err)


def _work(arguments: tuple[str, ...], cwd: str, env: dict[str, str], out: Path, err: Path) -> None:
    import torch

    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    # a shell that starts the tests in the background has them ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if "OMP_NUM_THREADS" in env:  # which torch, imported by the server, has not read here
        torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    sys.argv = list(arguments)
    sys.path[0] = str(Path(arguments[0]).parent)
    runpy.run_path(arguments[0], run_name="__main__")
