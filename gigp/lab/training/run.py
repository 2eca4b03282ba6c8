"""One run from a composed configuration: build, fit, record."""

import signal
import sys
from collections.abc import Sequence
from typing import Any

from gigp.errors import InputError, needs_extra, printable

with needs_extra("train"):
    import yaml
    from lightning.pytorch.utilities import rank_zero_only
    from omegaconf import DictConfig, OmegaConf

from gigp.lab.config.paths import expand_home
from gigp.lab.config.validate import check_settings
from gigp.lab.runs.checkpoints import unusable
from gigp.lab.runs.console import console, print_record, quiet
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.history import settle_best
from gigp.lab.runs.memory import (
    keep_freed_memory,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
)
from gigp.lab.runs.name import further_overrides, group_name, run_name
from gigp.lab.runs.record import Record
from gigp.lab.runs.samples import write_predictions, write_samples
from gigp.lab.runs.summary import make_record
from gigp.lab.training.build import RunParts, build
from gigp.lab.training.launch import launch_workers, set_rank
from gigp.lab.training.loggers import build_logger
from gigp.lab.training.rotations import average_rotations

# errors that Lightning raises on a checkpoint with an unexpected state
RESTORE_ERRORS = (AttributeError, IndexError, KeyError, TypeError, ValueError)

_started: list[str] = []  # names of the runs of this process


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> Record:
    """Train and test one configuration, or report the result if that is done already.

    Args:
        cfg: composed configuration.
        overrides: words of the command line, which become part of the run's name.

    Returns:
        The record of the run.

    Raises:
        InputError: a mistake of the user.
    """
    check_settings(cfg, overrides)
    expand_home(cfg)
    rank = set_rank(cfg.trainer.devices, cfg.trainer.get("num_nodes", 1))
    quiet(rank)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    folder = RunFolder(cfg.results_dir, run_name(config, overrides), cfg.seed)
    # only the first of several processes writes to the folder
    if rank > 0:
        finished = None if cfg.overwrite else folder.finished()
        return finished or _train_and_test(config, folder, overrides)
    with folder.lock():
        record = None if cfg.overwrite else folder.finished()
        if record is None:
            record = _train_and_test(config, folder, overrides)
            folder.finish(record)
        else:
            folder.check(config)
            console.print(f"{folder.path} is finished; skipped (overwrite=true runs it again).")
    print_record(record, folder)
    return record


def _report(
    config: dict[str, Any], folder: RunFolder, record: Record, parts: RunParts
) -> dict[str, str]:
    """Write the report, unless the configuration says otherwise, and return its drawings."""
    if not config.get("report", True):
        return {}
    from gigp.lab.report.page import report_on  # Matplotlib takes a while to load

    return report_on(folder.report, record, parts.data, parts.module.samples)


def join() -> None:
    """Work on a run that another process has started; its configuration is on standard input."""
    quiet(rank_zero_only.rank)  # type: ignore[attr-defined]
    config = yaml.safe_load(sys.stdin)
    folder = RunFolder(config["results_dir"], config["name"], config["seed"])
    try:
        _train_and_test(config, folder, ())
    except InputError as error:
        sys.exit(printable(f"\nError: {error}", keep="\t\n"))


def _train_and_test(config: dict[str, Any], folder: RunFolder, overrides: Sequence[str]) -> Record:
    """Build, fit, record. Nothing in the folder changes until training begins, so a command that is
    refused leaves the folder as it was.
    """
    keep_freed_memory()
    if _started:  # this takes up to 0.3 s
        release_memory()  # of an earlier run of a sweep, which may have failed
    _started.append(folder.name)
    reset_peak_memory()
    first, overwrite = rank_zero_only.rank == 0, config["overwrite"]  # type: ignore[attr-defined]
    if first and not overwrite:
        folder.check(config)
    parts = build(OmegaConf.create(config), folder, resume=not overwrite)

    logger = None
    if first:
        folder.begin(config, overwrite)
        logger = build_logger(config, folder, group_name(config, overrides))
        parts.trainer.logger = logger
    try:
        with launch_workers(parts.trainer, config | {"name": folder.name}):
            results = _fit(parts, folder)
        rotations = config["rotations"]
        averaged = average_rotations(parts.data, parts.module, rotations) if rotations else {}
        record = make_record(
            config,
            folder.name,
            further_overrides(overrides),
            parts.data,
            parts.module,
            parts.history,
            results,
            averaged,
            parts.trainer.world_size,
            peak_memory_mb(),
        )
        if first:
            write_samples(folder.samples, parts.module.samples)
            write_predictions(folder.predictions, parts.data, parts.module.samples)
        pictures = _report(config, folder, record, parts) if first else {}
        if logger is not None:
            logger.summarize(record)
            logger.show(pictures)
    finally:
        if logger is not None:
            logger.close()
    return record


def _fit(parts: RunParts, folder: RunFolder) -> dict[str, float]:
    """Train to the end, resuming from the last checkpoint if there is one, and test the best epoch.

    Returns:
        Test loss and metrics as `test/NAME`.

    Raises:
        InputError: the checkpoint does not fit, or the loss is not a number.
        KeyboardInterrupt: Ctrl-C, or SIGTERM.
    """
    trainer, module, data = parts.trainer, parts.module, parts.data
    resume = None if parts.resume is None else str(parts.resume)
    if resume:
        console.print(f"Resuming {folder.path} from its last checkpoint.")
        _settle(parts, folder)
    try:
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        except RESTORE_ERRORS as error:
            if parts.resume is None or parts.history.training or isinstance(error, InputError):
                raise
            raise unusable(parts.resume, f"{type(error).__name__}: {error}"[:200]) from error
        _settle(parts, folder)
        best = str(folder.best)
        (results,) = trainer.test(
            module, datamodule=data, ckpt_path=best, weights_only=True, verbose=False
        )
        return dict(results)
    except SystemExit as error:  # Lightning's answer to Ctrl-C, after which it ignores further ones
        if error.code not in (None, 1):  # a scheduler's, to be requeued
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error


@rank_zero_only
def _settle(parts: RunParts, folder: RunFolder) -> None:
    """Check that best.ckpt is the one that the last checkpoint names; see `settle_best`."""
    parts.history.best = settle_best(folder.last, folder.best, parts.history.best)
