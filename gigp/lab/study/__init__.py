"""From run records to tables, figures and the report: nothing here trains, and every number comes
from a record.
"""

from gigp.errors import needs_extra

with needs_extra("study"):
    import pandas  # noqa: F401
