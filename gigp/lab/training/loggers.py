"""Weights & Biases: online where an account is set up, offline elsewhere, without ever asking."""

import logging
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal

from lightning.pytorch.loggers import WandbLogger

from gigp.errors import InputError
from gigp.lab.files import read_bytes, write_atomically
from gigp.lab.runs.console import console
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.record import Record

log = logging.getLogger(__name__)

WandbMode = Literal["online", "offline", "disabled"]
MODES = {"dryrun": "offline", "offline": "offline", "disabled": "disabled"}
CONNECT_SECONDS = 20  # that wandb may take to begin a run online
ID = re.compile(r"[0-9a-f]{16}")


class TolerantWandbLogger(WandbLogger):
    """wandb's logger, but training does not end with wandb's service: the run folder holds all
    numbers anyway.
    """

    alive = True
    # by this process; later runs of a sweep do not wait for the network again
    unreachable: ClassVar[bool] = False

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        self._attempt(super().log_metrics, *args, **kwargs)

    def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Log the epochs of earlier processes, where they lie in folders of runs offline (a folder
        that is uploaded after another one of its id replaces it), and remove these folders.
        """
        folder = Path(self.experiment.dir).parent
        earlier = {*folder.parent.glob(f"offline-run-*-{self.experiment.id}")} - {folder}
        if not earlier:
            return
        for row in rows:
            values = {name: value for name, value in row.items() if name != "step"}
            self.log_metrics(values, int(row["step"]))
        if self.alive:
            for path in earlier:
                shutil.rmtree(path, ignore_errors=True)

    def summarize(self, record: Record) -> None:
        """Show the result of a run: test and best validation values, units, sizes."""
        summary: dict[str, Any] = {
            "best_epoch": record.best_epoch,
            "best/val/loss": record.val_loss,
            "test/loss": record.test_loss,
            "parameters": record.parameters,
            "minutes": record.seconds / 60,
            "samples_per_second": record.samples_per_second,
            "learned": record.learned,
        }
        for name, metric in record.metrics.items():
            summary |= {f"best/val/{name}": metric.val, f"test/{name}": metric.test}
            summary[f"unit/{name}"] = metric.unit
        self._attempt(lambda: self.experiment.summary.update(summary))

    def show(self, pictures: Mapping[str, str]) -> None:
        """Show the drawings of a run's report under the names that they have there.

        Args:
            pictures: SVG by name.
        """
        if pictures:
            shown = {f"report/{name}": svg_as_html(svg) for name, svg in pictures.items()}
            self._attempt(lambda: self.experiment.log(shown))

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


def build_logger(
    config: dict[str, Any], folder: RunFolder, group: str
) -> TolerantWandbLogger | None:
    """The logger that `logger=...` asks for; None where the run folder's own files are enough.

    Args:
        config: resolved configuration.
        folder: folder of the run; wandb's own files go below it.
        group: name of the group of runs that are compared with each other.

    Raises:
        InputError: wandb is not installed.
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
    mode = wandb_mode()
    if mode == "disabled":
        return None
    if TolerantWandbLogger.unreachable:
        mode = "offline"
    arguments = dict(
        project=options["project"],
        entity=options["entity"],
        id=_run_id(folder),
        name=f"{folder.name}/seed{folder.seed}",
        group=group,
        tags=[*filter(None, config["choices"].values()), f"seed{folder.seed}"],
        dir=str(folder.path),
        config=config,
        resume="allow",
    )
    settings = wandb.Settings(silent=True, init_timeout=CONNECT_SECONDS)
    try:
        experiment = wandb.init(mode=mode, settings=settings, **arguments)
    except Exception as error:  # of the network, the key, the service
        if mode == "offline":
            raise InputError(f"wandb cannot log: {error} Use logger=csv.") from error
        log.warning(
            "wandb cannot be reached (%s); this run is logged offline.",
            " ".join(str(error).split()),
        )
        wandb.teardown()  # the service still holds the run that it could not begin
        mode, TolerantWandbLogger.unreachable = "offline", True
        experiment = wandb.init(mode=mode, settings=settings, **arguments)
    if mode == "offline":
        where = shlex.quote(str(folder.path / "wandb" / Path(experiment.dir).parent.name))
        console.print(f"wandb logs offline; upload with: wandb sync {where}")
    experiment.define_metric("epoch")
    experiment.define_metric("*", step_metric="epoch")
    experiment.define_metric("val/*", step_metric="epoch", summary="min")
    return TolerantWandbLogger(experiment=experiment)


def svg_as_html(svg: str) -> Any:
    """A drawing as wandb shows it."""
    import wandb

    from gigp.lab.report.figures import standalone

    return wandb.Html(standalone(svg), inject=False)


def is_online() -> bool:
    """Whether wandb can log to its service without asking for anything."""
    return wandb_mode() == "online"


def wandb_mode() -> WandbMode:
    """The mode of wandb by its own settings, environment and login."""
    import wandb
    from wandb.sdk.lib import wbauth

    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes"):
        return "disabled"
    if mode := os.environ.get("WANDB_MODE"):
        os.environ["WANDB_MODE"] = mode.lower()  # wandb knows small letters alone
    settings: Any = wandb.Settings()
    settings.update_from_system_settings()
    settings.update_from_env_vars(dict(os.environ))
    if settings.mode in MODES:
        return MODES[settings.mode]  # type: ignore[return-value]
    try:
        login = wbauth.authenticate_session(
            host=settings.base_url, source="gigp", prompt=False, update_session=False
        )
    except wandb.Error as error:
        log.warning("wandb's login is of no use (%s); this run is logged offline.", error)
        return "offline"
    return "online" if login else "offline"


def _run_id(folder: RunFolder) -> str:
    """The id of the wandb run, which stays with the folder: a run that resumes goes on in the same
    wandb run, and no other run has it.
    """
    path = folder.path / "wandb" / "id"
    with suppress(OSError, ValueError):
        if not path.is_symlink() and ID.fullmatch(known := read_bytes(path, 100).decode().strip()):
            return known
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, made := secrets.token_hex(8))
    return made
