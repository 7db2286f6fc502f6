"""Callbacks that display, collect or log a run: a progress bar, a history in memory, JSONL, CSV and TensorBoard.

Your own callbacks derive from `Callback`; `condensed_data.engine.callbacks.progress` says when its methods are called.
"""
