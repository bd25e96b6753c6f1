"""What is asked of an encoder: rows, labels, batches, metrics, statistics."""
