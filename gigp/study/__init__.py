"""From run records to tables, figures and the report: nothing here trains, and every number comes
from a record.
"""
