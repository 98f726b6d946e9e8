"""The errors of training, beside those of `colondepth.errors`."""

from collections.abc import Iterable
from difflib import get_close_matches

from colondepth.errors import ColonDepthError


class CurriculumError(ColonDepthError, ValueError):
    """A recipe, a checkpoint or a run is not what training needs."""


class TrainingStoppedError(ColonDepthError, RuntimeError):
    """Training cannot go on; the message says why, what still stands and what helps."""


def unknown(word: str, known: Iterable[str], *, what: str) -> str:
    """Return the sentence about a name that nobody knows, with the nearest right one."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"no {what} is called {word!r}.{hint} Known: {', '.join(known) or 'none'}."
