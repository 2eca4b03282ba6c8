"""A page on which molecules or images show their orbits, and what each adds to a prediction."""

from gigp.errors import needs_extra

with needs_extra("predict"):
    from gigp.lab.prediction.explain.page import explain

__all__ = ["explain"]
