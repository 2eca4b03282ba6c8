"""One run in several processes: their start and their ranks.

Every process loads and augments the same global batch, then takes every W-th row of it
(`gigp.distributed`). So random draws do not depend on the number W of processes, and no sample
of training, validation or test is left out or counted twice.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch.distributed as dist
import yaml
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_only

from gigp.errors import InputError, check_choice

JOIN = "from gigp.lab.training.run import join; join()"  # program of another process
StrategyName = Literal["auto", "ddp"]
PATIENCE = 60  # seconds that the other processes may take to end after the first
# environment variable: the pipe through which a started process tells the first one it is ready
READY = "GIGP_READY"
OTHER_LAUNCHERS = ("JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK")


def choose_strategy(name: StrategyName, devices: int | str, nodes: int) -> str | Strategy:
    """Lightning's strategy for one device, or data parallelism over several.

    Buffers are not broadcast in every step: all processes compute the same.
    """
    check_choice("trainer.strategy", name, StrategyName)
    return (
        "auto" if name == "auto" and devices == nodes == 1 else DDPStrategy(broadcast_buffers=False)
    )


def started_by_launcher(devices: int | str, nodes: int) -> bool:
    """Whether torchrun, srun or another process of ours has started all processes of this run.

    Environment variables of ranks are not enough: a run on one device may be one of several
    independent runs of an srun, or RANK may be left over.

    Raises:
        InputError: a step of SLURM has another number of tasks than the run has processes.
    """
    if READY in os.environ:
        return True
    if devices in (1, "1") and nodes == 1:
        return False
    if all(key in os.environ for key in ("RANK", "WORLD_SIZE", "MASTER_ADDR")):
        return True
    tasks = slurm_tasks()
    if tasks > 1 and devices != "auto" and tasks != int(devices) * nodes:
        raise InputError(
            f"srun has started {tasks} tasks, but the run has {int(devices) * nodes} processes "
            f"(trainer.devices={devices}, num_nodes={nodes}); make the two numbers equal."
        )
    return tasks > 1 or any(key in os.environ for key in OTHER_LAUNCHERS)


def slurm_tasks() -> int:
    """Number of tasks of this step of SLURM; 1 in the script of a job, for any --ntasks."""
    if not SLURMEnvironment.detect() or "SLURM_STEP_ID" not in os.environ:
        return 1
    return int(os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or 1)


def set_rank(devices: int | str, nodes: int) -> int:
    """Determine which of the run's processes this is, and return its rank.

    Lightning takes the rank from the environment alone: a run on one device with RANK or
    SLURM_PROCID in its environment would keep silent and write no record.

    Args:
        devices: `trainer.devices`.
        nodes: `trainer.num_nodes`.
    """
    if not started_by_launcher(devices, nodes):
        for key in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE"):
            os.environ.pop(key, None)
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
    return rank_zero_only.rank  # type: ignore[attr-defined]


def choose_environment(devices: int | str, nodes: int) -> list[ClusterEnvironment]:
    """Lightning's description of the processes of a run.

    Lightning never requeues a job of SLURM; the launcher that submitted it does.
    """
    if READY in os.environ or not started_by_launcher(devices, nodes):
        return [LightningEnvironment()]
    if TorchElasticEnvironment.detect() or slurm_tasks() == 1:
        return []  # Lightning detects the device itself
    return [SLURMEnvironment(auto_requeue=False)]


@contextmanager
def launch_workers(trainer: L.Trainer, config: dict[str, Any]) -> Iterator[None]:
    """Start the other processes of a run on several devices of this machine, and end them with it.

    Nothing is started for one device, or where torchrun or a scheduler has started all processes
    already. The others execute `gigp.lab.training.run.join` with the same configuration, whatever
    started the first (Lightning would repeat the command line, which in a sweep is not that of the
    run); they write nothing.

    Args:
        trainer: knows the number of devices.
        config: resolved configuration.

    Raises:
        InputError: several machines, or a process ended with an error of its own, be it before it
            met the first one, which would wait for half an hour.
    """
    strategy = trainer.strategy
    environment: Any = getattr(strategy, "cluster_environment", None)
    if not isinstance(strategy, DDPStrategy) or environment.creates_processes_externally:
        _tell_first()
        yield
        return
    if trainer.num_nodes > 1:
        raise InputError(
            f"trainer.num_nodes={trainer.num_nodes}: start the processes of several machines with "
            "torchrun or srun, see docs/cluster.md."
        )
    world = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(trainer.world_size),
    }
    world |= {"NODE_RANK": "0", "LOCAL_RANK": "0"}
    with _variables(world), _processes(range(1, trainer.world_size), config):
        yield


@contextmanager
def _processes(ranks: Iterable[int], config: dict[str, Any]) -> Iterator[None]:
    """Start processes of these ranks, wait for them after the block, and end them in any case."""
    started = [_start(rank, config) for rank in ranks]
    others, pipes = [process for process, _ in started], [pipe for _, pipe in started]
    try:
        for rank, pipe in enumerate(pipes, 1):
            if not os.read(pipe, 1):
                raise InputError(
                    f"process {rank} of the run ended before it began; its message is above."
                )
        yield
        codes = [process.wait(PATIENCE) for process in others]
        if any(codes):
            raise InputError(f"processes of the run ended with {codes}; their messages are above.")
    # a lost connection does not reveal the error of the other process
    except RuntimeError as error:
        ended = [rank for rank, process in enumerate(others, 1) if _ends(process)]
        if not ended:
            raise
        raise InputError(f"process {ended[0]} of the run ended; its message is above.") from error
    finally:
        for pipe in pipes:
            os.close(pipe)
        for process in others:
            process.kill()
            process.wait()
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment inside the block."""
    before = {key: os.environ[key] for key in values if key in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for key in values:
            os.environ.pop(key, None)
        os.environ.update(before)


def _start(rank: int, config: dict[str, Any]) -> tuple[subprocess.Popen, int]:
    """Start a process that reads its configuration from standard input; in a session of its own, so
    that Ctrl-C interrupts the first process alone, which ends it.

    Returns:
        The process, and a pipe to read from: one byte when it is ready, the end of the file if it
        has ended.
    """
    package = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    ready, ready_writer = os.pipe()
    env = {**os.environ, "LOCAL_RANK": str(rank), "PYTHONPATH": path, READY: str(ready_writer)}
    command = [sys.executable, "-c", JOIN]
    options: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "text": True,
        "start_new_session": True,
        "pass_fds": (ready_writer,),
    }
    process = subprocess.Popen(command, env=env, **options)
    os.close(ready_writer)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as file:  # it may have ended already
        yaml.safe_dump(config, file)
    return process, ready


def _tell_first() -> None:
    """Tell the first process that this one is ready, if the first one has started it."""
    if pipe := os.environ.pop(READY, None):
        os.write(int(pipe), b"1")
        os.close(int(pipe))


def _ends(process: subprocess.Popen) -> bool:
    """Whether a process has ended with an error, or does so within five seconds."""
    try:
        return process.wait(5) != 0
    except subprocess.TimeoutExpired:
        return False


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
