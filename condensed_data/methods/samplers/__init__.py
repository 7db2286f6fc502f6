"""Samplers: which real and synthetic samples are compared in each step."""
