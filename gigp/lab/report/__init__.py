"""A page about a finished run, and one that sets several side by side."""
