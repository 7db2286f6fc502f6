"""Callbacks that display, collect or log a run: a progress bar, a history in memory, JSONL, CSV and TensorBoard.

Your own callbacks derive from `Callback`; `condensed_data.engine.callbacks.progress` says when its methods are called.
"""

from condensed_data.engine.callbacks.bar import ProgressBar
from condensed_data.engine.callbacks.loggers import CSVLogger, History, JSONLLogger, TensorBoardLogger
from condensed_data.engine.callbacks.progress import Callback, Callbacks, Progress

__all__ = [
    "CSVLogger",
    "Callback",
    "Callbacks",
    "History",
    "JSONLLogger",
    "Progress",
    "ProgressBar",
    "TensorBoardLogger",
]
