"""Storing condensed datasets: the artifact on disk and on the Hub, the local cache, and checkpoints."""
