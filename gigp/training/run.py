"""One run from a composed configuration: build, fit or resume, test once from the best checkpoint,
record.
"""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from hydra.errors import InstantiationException
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from gigp.config.instantiate import instantiate, load_config
from gigp.config.validate import check_settings
from gigp.datasets.loader import PointCloudDataModule
from gigp.errors import InputError
from gigp.nn.linear import cpu_supports_bf16
from gigp.training.build import build_model, build_module
from gigp.training.callbacks import (
    EpochCheckpoints,
    EpochSeed,
    History,
    InterruptOnSigterm,
    PreciseBatchNorm,
    ProgressLine,
    StopOnNaN,
)
from gigp.training.checkpoints import AtomicCheckpoints, load_backbone, load_checkpoint
from gigp.training.folder import RunFolder, further_overrides, run_name
from gigp.training.launch import choose_environment, choose_strategy, launch_workers
from gigp.training.loggers import build_logger
from gigp.training.memory import keep_freed_memory, peak_memory_mb, reset_peak_memory
from gigp.training.module import LitModule
from gigp.training.record import Record, environment, make_record, write_samples

# of several processes the first one speaks
console = Console(soft_wrap=True, quiet=rank_zero_only.rank > 0)


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> Record:
    """Do what a configuration says, unless it is done already, and return its record.

    Args:
        cfg: composed configuration.
        overrides: of the command line, which become part of the run's name.

    Raises:
        InputError: something the user can mend.
    """
    quiet()
    check_settings(cfg, overrides)
    config = OmegaConf.to_container(cfg, resolve=True)
    folder = RunFolder(cfg.results_dir, run_name(config, list(overrides)), cfg.seed)
    if rank_zero_only.rank > 0:  # of several processes; the first one has the folder
        return (None if cfg.overwrite else folder.finished()) or _train_and_test(
            cfg, config, folder, overrides
        )
    with folder.lock():
        record = None if cfg.overwrite else folder.finished()
        if record is not None:
            folder.open(config)
            console.print(f"{folder.path} is finished; skipped (overwrite=true runs it again).")
        else:
            folder.open(config, cfg.overwrite)
            record = _train_and_test(cfg, config, folder, overrides)
            folder.finish(record)
    _report(record, folder)
    return record


def join() -> None:
    """What the other processes of a run execute: the same, without a record. The configuration is
    on standard input.
    """
    quiet()
    config = yaml.safe_load(sys.stdin)
    cfg = OmegaConf.create(config)
    try:
        _train_and_test(cfg, config, RunFolder(cfg.results_dir, cfg.name, cfg.seed), ())
    except InputError as error:
        sys.exit(f"\nError: {error}")


def _train_and_test(
    cfg: DictConfig, config: dict[str, Any], folder: RunFolder, overrides: Sequence[str]
) -> Record:
    keep_freed_memory()
    reset_peak_memory()
    started_with = environment()  # the code that runs, not what the checkout holds when it ends
    L.seed_everything(cfg.seed, verbose=False)
    data: PointCloudDataModule = instantiate(cfg.dataset)
    resume = str(folder.last) if folder.last.exists() else None
    if resume:
        data.load_state_dict(load_checkpoint(folder.last).get(type(data).__qualname__, {}))
    data.setup()
    model = build_model(cfg, data)
    model.calibrate(data.train_clouds())
    if cfg.init_from:
        load_backbone(model, Path(cfg.init_from))
    if cfg.compile:
        model.compile(dynamic=True)
    task = build_module(
        model, data, lr=cfg.lr, warmup=cfg.warmup, freeze_backbone=cfg.freeze_backbone
    )
    history, logger = (
        History(folder.metrics),
        build_logger(config, folder) if rank_zero_only.rank == 0 else None,
    )
    trainer = build_trainer(cfg, folder, history, logger)
    trainer.precision_plugin.convert_module(task)  # before a resume, or it would round the weights
    batch = min(data.batch_size, len(data.indices["train"]))
    if batch < trainer.world_size:
        raise InputError(
            f"{trainer.world_size} processes cannot share batches of {batch} clouds; use fewer "
            "devices."
        )
    if resume:
        console.print(f"Resuming {folder.path} from its last checkpoint.")
    try:
        with launch_workers(trainer, config | {"name": folder.name}):
            trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
            best = str(folder.best)
            results = trainer.test(
                task, datamodule=data, ckpt_path=best, weights_only=True, verbose=False
            )[0]
    except SystemExit as error:  # Lightning's answer to Ctrl-C, after which it ignores further ones
        if error.code not in (None, 1):  # a scheduler's, to be requeued
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        if "loading state_dict" in str(error):
            raise InputError(
                f"{folder.last} is of another architecture; use overwrite=true or another name=."
            ) from error
        raise
    finally:
        if logger is not None:
            logger.close()
    record = make_record(
        config,
        folder.name,
        further_overrides(list(overrides)),
        data,
        task,
        history,
        results,
        trainer.world_size,
        started_with,
        peak_memory_mb(),
    )
    if trainer.is_global_zero:
        write_samples(folder.samples, task.samples)
    if logger is not None and logger.experiment.settings._offline:
        console.print(
            f"wandb logged offline; upload with: wandb sync {folder.path}/wandb/offline-run-*"
        )
    return record


def load_trained(
    folder: str | Path, setup: bool = True, **dataset: Any
) -> tuple[DictConfig, PointCloudDataModule, LitModule]:
    """The configuration, data, and best model of a finished run, in evaluation mode.

    Args:
        folder: of the run, with its checkpoints.
        setup: read the data set; False leaves it alone, so that it need not be on disk.
        dataset: settings of the data set to use in place of the run's.

    Raises:
        InputError: there is no run, or no checkpoint, or it does not fit its configuration.
    """
    folder = Path(folder)
    cfg = load_config(folder)
    best = folder / "checkpoints" / "best.ckpt"
    if not best.exists():
        raise InputError(
            f"there is no checkpoint at {best}: {folder} is not trained yet, or the record of a "
            "run that was trained elsewhere. Train it here first."
        )
    checkpoint = load_checkpoint(best)
    data: PointCloudDataModule = instantiate(cfg.dataset, **dataset)
    # the source that the run had found
    data.load_state_dict(checkpoint.get(type(data).__qualname__, {}))
    if setup:
        data.setup()
    task = build_module(build_model(cfg, data), data, fit=False, lr=cfg.lr)
    try:
        task.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise InputError(f"the checkpoint in {folder} does not fit its config.yaml.") from error
    return cfg, data, task.eval()


def build_trainer(cfg: DictConfig, folder: RunFolder, history: History, logger: Any) -> L.Trainer:
    """Lightning's trainer with this project's callbacks.

    Raises:
        InputError: Lightning refuses its settings, or there is no such device.
    """
    checkpoints = EpochCheckpoints(folder.last, folder.best, history)
    first = [
        EpochSeed(cfg.seed),
        InterruptOnSigterm(),
        StopOnNaN(),
        PreciseBatchNorm(cfg.recalibrate),
    ]
    try:
        trainer = instantiate(
            cfg.trainer,
            callbacks=[*first, history, ProgressLine(console), checkpoints],
            plugins=[AtomicCheckpoints(), *choose_environment()],
            strategy=choose_strategy(
                cfg.trainer.strategy, cfg.trainer.devices, cfg.trainer.get("num_nodes", 1)
            ),
            use_distributed_sampler=False,  # the batches are shared, not the samples
            logger=logger or False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except InstantiationException as error:
        raise InputError(
            f"Lightning refuses these settings of trainer: {error.__cause__}"
        ) from error
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and trainer.precision.startswith("bf16") and not cpu_supports_bf16():
        console.print(
            f"Warning: this CPU has no bf16; trainer.precision={trainer.precision} is far slower "
            "here."
        )
    return trainer


def quiet() -> None:
    """Silence Lightning's tips; its warnings stay, but for those about what is on purpose."""
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.ERROR)
    on_purpose = (
        "many workers",
        "Checkpoint directory",
        "in eval mode",
        "sync_dist",
        "broadcast_buffers",
    )
    of_libraries = ("torch.jit.script", "LeafSpec")
    for message in (*on_purpose, *of_libraries):
        warnings.filterwarnings("ignore", message=f".*{message}.*")


def _report(record: Record, folder: RunFolder) -> None:
    """One readable table of what came out."""
    data = record.data
    title = f"{record.name}, seed {record.seed}"
    table = Table("metric", "test", "unit", "kind", title=title, title_justify="left")
    for name, metric in record.metrics.items():
        table.add_row(name, f"{metric.test:.4g}", metric.unit, metric.kind)
    console.print(table)
    sizes = " / ".join(f"{size:,}" for size in data["sizes"].values())
    lines = {
        "split": f"{data['split']} ({data['split_hash']}): {sizes} for train / val / test",
        "source": data["source"],
        "parameters": f"{record.parameters:,}",
        "time": f"{record.seconds:.0f} s, {record.samples_per_second:.0f} samples/s",
        "record": folder.path,
    }
    for name, value in lines.items():
        console.print(f"{name:11} {value}", highlight=False)
