"""Tips and warnings of libraries that say nothing to a user of this project."""

import logging
import warnings

# warnings about intended behavior
INTENDED = (
    "many workers",
    "Checkpoint directory",
    "in eval mode",
    "sync_dist",
    "broadcast_buffers",
)
# warnings of libraries about themselves
LIBRARIES = ("torch.jit.script", "LeafSpec")


def quiet_libraries() -> None:
    """Silence Lightning's tips and the warnings about intended behavior."""
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.ERROR)
    for message in (*INTENDED, *LIBRARIES):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
