"""How Lightning writes and reads the checkpoints of a run."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import LightningModule
from lightning.pytorch.plugins.io import TorchCheckpointIO

from gigp.errors import InputError
from gigp.lab.files import open_atomically
from gigp.lab.runs.checkpoints import load_checkpoint, unusable
from gigp.lab.runs.checks import UnfitError, training_state


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are written atomically, and read as tensors and plain data only.

    Args:
        module: module that resumes from them; a checkpoint that does not fit it is refused.
    """

    def __init__(self, module: LightningModule) -> None:
        super().__init__()
        self.module = module

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open_atomically(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch closes its archive after a failed write, and complains of that
            hidden = error.__context__
            reason = hidden if isinstance(hidden, OSError) else error
            raise InputError(
                f"cannot write {path}: {reason}. The checkpoint before it is intact."
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict:
        checkpoint = load_checkpoint(Path(path), map_location)
        try:
            state = training_state(checkpoint, self.module)
        except UnfitError as error:
            raise unusable(Path(path), str(error)) from None
        trainer: Any = self.module.trainer
        data = type(trainer.datamodule).__qualname__
        state |= {"pytorch-lightning_version": lightning.__version__}
        return state | {data: checkpoint[data]} if data in checkpoint else state
