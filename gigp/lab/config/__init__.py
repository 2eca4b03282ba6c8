"""From the command line to objects: settings are composed, checked, and made into classes."""

from gigp.errors import needs_extra

with needs_extra("predict"):
    import omegaconf  # noqa: F401
