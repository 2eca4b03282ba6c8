"""Speed and memory of models and pools, beside the reference implementations."""
