"""Errors that a user can cause and mend: one sentence each, what is wrong, where, and what to do.

The command line prints these as one line and exits with code 2; every other exception is a defect of
ours and keeps its traceback. Each class also inherits the builtin that a library caller would expect.
"""


class FastaedError(Exception):
    """Base of all errors whose message is meant for the user."""


class ConfigError(FastaedError, ValueError):
    """The configuration names an unknown key or a value that is not allowed."""


class DataError(FastaedError, ValueError):
    """Input data (video, frames, labels, detections) cannot be used as it is."""


class MissingDataError(DataError, FileNotFoundError):
    """Input data is not where it was looked for."""


class StoreError(FastaedError, OSError):
    """A store or table written by an earlier stage is missing, incomplete or corrupt."""


class WeightsError(FastaedError, OSError):
    """Network weights cannot be found or do not fit."""


class TrainingError(FastaedError, ArithmeticError):
    """A network diverged or died while it was trained."""


class DeviceMemoryError(FastaedError, MemoryError):
    """What has to be computed does not fit into the device's memory."""


class OutputError(FastaedError, OSError):
    """A result cannot be written (no space, no permission)."""
