"""Training and evaluation data: sources of samples, transforms, and the pipeline to batches."""
