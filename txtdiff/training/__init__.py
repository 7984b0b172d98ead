"""The training loop and what surrounds it: optimiser, averages, checkpoints, logs."""
