"""Every error raised on purpose; the command line prints one as a single line, without a traceback.

A message says what was found, what was expected and where; if the cure is known, it says the cure.
"""


class ColonDepthError(Exception):
    """Base of every error raised on purpose."""


class ShapeError(ColonDepthError, ValueError):
    """A tensor does not have the axes that a function asks for."""


class DataError(ColonDepthError, ValueError):
    """A value, a file or a folder is not what its reader was promised."""


class UnknownNameError(ColonDepthError, KeyError):
    """A name that nobody registered; the message holds the nearest right one."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0])


class DuplicateNameError(ColonDepthError, ValueError):
    """Two makers claim one name."""


class PluginError(ColonDepthError, ImportError):
    """An entry point exists, but what it names cannot be imported."""


class MissingExtraError(ColonDepthError, ImportError):
    """An optional library is needed and is not installed."""
