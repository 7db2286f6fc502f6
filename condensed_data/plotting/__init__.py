"""Grids, plots and curves, drawn with pillow; curves with matplotlib."""
