"""Train or resume, then test once from the best checkpoint."""

import signal

from lightning.pytorch.utilities import rank_zero_only

from gigp.errors import InputError
from gigp.lab.runs.checkpoints import unusable
from gigp.lab.runs.console import console
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.history import settle_best
from gigp.lab.training.build import RunParts

# errors that Lightning raises on a checkpoint with an unexpected state
RESTORE_ERRORS = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def fit(parts: RunParts, folder: RunFolder) -> dict[str, float]:
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
    if resume:
        settle(parts, folder)
    try:
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        except RESTORE_ERRORS as error:
            if parts.resume is None or parts.history.training or isinstance(error, InputError):
                raise
            raise unusable(parts.resume, f"{type(error).__name__}: {error}"[:200]) from error
        settle(parts, folder)
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
def settle(parts: RunParts, folder: RunFolder) -> None:
    """Check that best.ckpt is the one that the last checkpoint names; see `settle_best`."""
    parts.history.best = settle_best(folder.last, folder.best, parts.history.best)
