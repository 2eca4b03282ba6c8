"""One run from a composed configuration: build, fit or resume, test once from the best checkpoint, record."""

import ctypes
import logging
import resource
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from gigp.callbacks import AtomicCheckpoints, EpochSeed, History, ProgressLine, Recalibrate, StopOnNaN, load_checkpoint
from gigp.config import instantiate
from gigp.datasets.loader import PointCloudDataModule
from gigp.errors import InputError
from gigp.loggers import build_logger
from gigp.model import PointCloudModel, build_model
from gigp.records import RunFolder, environment, run_name
from gigp.task import Task, build_task

console = Console(soft_wrap=True)


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Do what a configuration says, unless it is done already, and return its summary.

    Args:
        cfg: composed configuration.
        overrides: of the command line, which become part of the run's name.

    Raises:
        InputError: something the user can mend.
    """
    config = OmegaConf.to_container(cfg, resolve=True)
    folder = RunFolder(cfg.results_dir, run_name(config, list(overrides)), cfg.seed)
    with folder.lock():
        summary = None if cfg.overwrite else folder.summary()
        if summary is not None:
            folder.open(config)
            console.print(f"{folder.path} is finished; skipped (overwrite=true runs it again).")
        else:
            folder.open(config, cfg.overwrite)
            summary = _train_and_test(cfg, config, folder)
            folder.finish(summary)
    _report(summary, folder)
    return summary


def _train_and_test(cfg: DictConfig, config: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    quiet()
    keep_freed_memory()
    started_with = environment()  # the code that runs, not what the checkout holds when it ends
    L.seed_everything(cfg.seed, verbose=False)
    data: PointCloudDataModule = instantiate(cfg.dataset)
    data.prepare_data()
    data.setup()
    model = build_model(cfg, data)
    model.fit(data.train_clouds())
    if cfg.init_from:
        load_backbone(model, Path(cfg.init_from))
    if cfg.compile:
        model.compile(dynamic=True)
    task = build_task(model, data, lr=cfg.lr, warmup=cfg.warmup, freeze_backbone=cfg.freeze_backbone)
    history, logger = History(folder.metrics), build_logger(config, folder)
    trainer = build_trainer(cfg, folder, history, logger)
    resume = str(folder.last) if folder.last.exists() else None
    if resume:
        console.print(f"Resuming {folder.path} from its last checkpoint.")
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
        results = trainer.test(task, datamodule=data, ckpt_path=str(folder.best), weights_only=True, verbose=False)[0]
    except SystemExit as error:  # Lightning's answer to Ctrl-C, after which it ignores further ones
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
            logger.experiment.finish()
    summary = summarize(config, folder, data, task, history, results) | started_with
    if logger is not None and logger.experiment.settings._offline:
        console.print(f"wandb logged offline; upload with: wandb sync {folder.path}/wandb/offline-run-*")
    return summary


def build_trainer(cfg: DictConfig, folder: RunFolder, history: History, logger: Any) -> L.Trainer:
    """Lightning's trainer with this project's callbacks."""
    checkpoints = ModelCheckpoint(
        dirpath=folder.checkpoints,
        filename="best",
        monitor="val/loss",
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    progress = ProgressLine(console)
    return instantiate(
        cfg.trainer,
        callbacks=[EpochSeed(cfg.seed), StopOnNaN(), Recalibrate(cfg.recalibrate), history, progress, checkpoints],
        plugins=[AtomicCheckpoints()],
        logger=logger or False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def load_backbone(model: PointCloudModel, source: Path) -> None:
    """Take backbone and head from the best checkpoint of another run, whatever its pool.

    Args:
        source: run folder, or a checkpoint.

    Raises:
        InputError: there is none, or its backbone has another shape.
    """
    path = source / "checkpoints" / "best.ckpt" if source.is_dir() else source
    state = load_checkpoint(path)["state_dict"]
    for name in ("backbone", "head"):
        prefix = f"model.{name}."
        part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        try:
            getattr(model, name).load_state_dict(part)
        except RuntimeError as error:
            raise InputError(
                f"the {name} in {path} does not fit this configuration: {str(error).splitlines()[-1].strip()} "
                "Use the backbone, group, scale and target of that run (its config.yaml has them)."
            ) from error


def summarize(
    config: dict[str, Any],
    folder: RunFolder,
    data: PointCloudDataModule,
    task: Task,
    history: History,
    results: dict[str, float],
) -> dict[str, Any]:
    """The record of a finished run."""
    best = min(history.rows, key=lambda row: row["val/loss"])
    train_seconds = sum(row["train_seconds"] for row in history.rows)
    pool = task.model.pool
    steps = history.rows[-1]["step"]
    return {
        "name": folder.name,
        "seed": folder.seed,
        "choices": config["choices"],
        "metrics": {
            name: {"unit": unit, "test": results[f"test/{name}"], "val": best[f"val/{name}"]}
            for name, unit in task.units.items()
        },
        "test_loss": results["test/loss"],
        "val_loss": best["val/loss"],
        "best_epoch": best["epoch"],
        "data": data.description,
        "backbone_group": str(task.model.backbone.group),
        "pool_group": None if pool.group is None else str(pool.group),
        "pool": {key: value for key, value in config["pool"].items() if key not in ("_target_", "group")},
        "pool_on": config["pool_on"],
        "recalibrated_on": config["recalibrate"],
        "init_from": config["init_from"],
        "frozen_backbone": config["freeze_backbone"],
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "trainable_parameters": sum(p.numel() for p in task.model.parameters() if p.requires_grad),
        "epochs": len(history.rows),
        "steps": steps,
        "seconds": round(sum(row["seconds"] for row in history.rows), 1),
        "seconds_per_epoch": round(sum(row["seconds"] for row in history.rows) / len(history.rows), 2),
        "samples_per_second": round(steps * min(data.batch_size, len(data.indices["train"])) / train_seconds, 1),
        "peak_memory_mb": peak_memory_mb(),
    }


def peak_memory_mb() -> float:
    """Most memory held so far: on the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for the next step, which asks for the same sizes again.

    It returns blocks of more than 32 MB to the system otherwise, and the system clears their pages in every step: a
    third of the time of a QM9 step on two cores. Other C libraries do without.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        for option in (trim_threshold, mmap_threshold):
            libc.mallopt(option, 2**31 - 1)
    except (OSError, AttributeError):
        return


def quiet() -> None:
    """Silence Lightning's tips; its warnings stay, but for those about what is on purpose here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in ("does not have many workers", "torch.jit.script", "Checkpoint directory", "LeafSpec"):
        warnings.filterwarnings("ignore", message=f".*{message}.*")


def _report(summary: dict[str, Any], folder: RunFolder) -> None:
    """One readable table of what came out."""
    data = summary["data"]
    title = f"{summary['name']}, seed {summary['seed']}"
    table = Table("metric", "test", "unit", "kind", title=title, title_justify="left")
    for name, metric in summary["metrics"].items():
        kind = data["targets"].get(name, {"kind": "classification"})["kind"]
        table.add_row(name, f"{metric['test']:.4g}", metric["unit"], kind)
    console.print(table)
    sizes = " / ".join(f"{size:,}" for size in data["sizes"].values())
    lines = {
        "split": f"{data['split']} ({data['split_hash']}): {sizes} for train / val / test",
        "source": data["source"],
        "parameters": f"{summary['parameters']:,}",
        "time": f"{summary['seconds']:.0f} s, {summary['samples_per_second']:.0f} samples/s",
        "record": folder.path,
    }
    for name, value in lines.items():
        console.print(f"{name:11} {value}", highlight=False)
