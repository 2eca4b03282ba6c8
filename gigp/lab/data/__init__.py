"""What all data sets share: loading, batches, caches, splits, targets, files of entries."""
