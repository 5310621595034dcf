"""Training: the loop, the step, what a run starts from and what it leaves."""
