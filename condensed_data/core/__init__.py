"""Shared foundations: specifications, random draws, devices, errors and atomic writes."""
