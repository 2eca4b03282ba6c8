"""One run from its configuration to its record."""

from gigp.errors import needs_extra

with needs_extra("predict"):
    import omegaconf  # noqa: F401
