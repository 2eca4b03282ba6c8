"""What all data sets share: loading, batches, caches, splits, targets, files of entries."""

from gigp.errors import needs_extra

with needs_extra("predict"):
    import omegaconf  # noqa: F401
