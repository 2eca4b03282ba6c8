"""Figures from run records, small SVG files whose text is text, readable in grey."""

from gigp.errors import needs_extra

with needs_extra("study"):
    import matplotlib  # noqa: F401
