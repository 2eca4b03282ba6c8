"""A run on the disk: folder, name, lock, record, history and checkpoints."""

from gigp.errors import needs_extra

with needs_extra("predict"):
    import omegaconf  # noqa: F401
