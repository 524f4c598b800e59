"""Exceptions. Every message is one sentence that says what is wrong and what to do about it."""


class NatmuError(Exception):
    """Something failed while it ran; the command line exits with status 1."""

    exit_status = 1


class TrainingError(NatmuError):
    """Training cannot go on, for example because a loss is no longer finite."""


class RunError(NatmuError):
    """A run folder cannot be read or written."""


class DownloadError(NatmuError):
    """A server cannot be reached, or what it sends cannot be stored."""


class UsageError(NatmuError):
    """What was asked for cannot be done as asked; the command line exits with status 2."""

    exit_status = 2


class SettingError(UsageError):
    """A setting is unknown, missing or out of its range."""


class DataError(UsageError):
    """A data set cannot be found or read."""


class ForgetSetError(UsageError):
    """A forget set is malformed, empty or does not fit the data."""


class ModelError(UsageError):
    """A model is unknown, has no weights, or does not fit the data."""


class ScenarioError(UsageError):
    """A method cannot serve this forget set."""
