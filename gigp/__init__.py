"""Group Invariant Global Pooling: pool a point cloud orbit by orbit (Bujel et al. 2023, arXiv 2305.19207)."""
