"""The loop that condenses, and what stands around it: jobs, callbacks, checkpoints and processes."""
