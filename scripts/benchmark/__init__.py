"""Speed and memory of models and pools, compared with the reference implementations."""
