"""Weights & Biases, online where an account is set up and offline elsewhere, without ever
asking.
"""

import hashlib
import logging
import netrc
import os
from collections.abc import Callable
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from gigp.errors import InputError
from gigp.training.folder import RunFolder

log = logging.getLogger(__name__)


class TolerantWandbLogger(WandbLogger):
    """wandb's logger, but training does not end with wandb's service: the run folder holds all
    numbers anyway.
    """

    alive = True

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        self._attempt(super().log_metrics, *args, **kwargs)

    def close(self) -> None:
        """End the wandb run."""
        self._attempt(self.experiment.finish)

    def _attempt(self, call: Callable, *args: Any, **kwargs: Any) -> None:
        if self.alive:
            try:
                call(*args, **kwargs)
            except Exception as error:  # of sockets, mailboxes, wandb's own
                self.alive = False
                log.warning(
                    "wandb has stopped (%s: %s); the run goes on without it.",
                    type(error).__name__,
                    error,
                )


def build_logger(config: dict[str, Any], folder: RunFolder) -> TolerantWandbLogger | None:
    """The logger that `logger=...` asks for; None where the run folder's own files are enough.

    All runs that differ in pool and seed alone share a wandb group. The id of the wandb run is a
    function of the folder, so a resumed run goes on in the same wandb run.

    Args:
        config: resolved configuration.
        folder: of the run; wandb's own files go below it.
    """
    options = config["logger"]
    if options["name"] == "csv":
        return None
    try:
        import wandb
    except ImportError as error:
        raise InputError(
            "logger=wandb needs the package wandb; run `pip install wandb`, or use logger=csv."
        ) from error
    choices = config["choices"]
    experiment = wandb.init(
        mode="online" if is_online() else "offline",
        project=options["project"],
        entity=options["entity"],
        id=hashlib.sha256(f"{folder.name}/{folder.seed}".encode()).hexdigest()[:16],
        name=f"{folder.name}/seed{folder.seed}",
        group=folder.name.replace(f"_{choices['pool']}_", "_"),
        tags=[*filter(None, choices.values()), f"seed{folder.seed}"],
        dir=str(folder.path),
        config=config,
        resume="allow",
        settings=wandb.Settings(silent=True),
    )
    return TolerantWandbLogger(experiment=experiment)


def is_online() -> bool:
    """Whether wandb can log to its service without asking for anything."""
    mode = os.environ.get("WANDB_MODE")
    if mode:
        return mode == "online"
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        entries = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return "api.wandb.ai" in entries
