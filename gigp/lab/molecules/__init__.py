"""QM9, a user's own molecules, and their readers."""
