"""Training and testing networks: on condensed data, on the real samples before a run, and between its iterations."""
