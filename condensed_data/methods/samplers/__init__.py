"""Samplers: which real and synthetic samples are compared."""
