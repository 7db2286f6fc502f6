"""Networks that learn from real samples: a few steps between sweeps, or whole trainings that are kept."""
