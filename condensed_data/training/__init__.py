"""Networks that learn from real samples: a few steps between iterations, or whole trainings that are kept."""
