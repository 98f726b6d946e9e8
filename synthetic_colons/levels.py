"""The levels of complexity, each one row of a table that can be read and changed.

1 to 5 follow Ruano, Gomez, Romero and Manzanera (2023), read off their graphical abstract; 6 is
the clinic, ours. `randomised` is level 5 or 6 with everything that a scope or a tissue could
change drawn far beyond anatomy and optics, for networks that must work on pictures nobody rendered.
"""

from dataclasses import dataclass, replace
from difflib import get_close_matches

from colondepth.errors import UnknownNameError
from synthetic_colons.anatomy import Folds


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a level has that the one before it has not."""

    name: str
    folds: Folds
    simple_polyps: bool  # domes of one kind
    findings: bool  # ileocaecal valve, appendix orifice, diverticula
    relief: bool  # fine relief of wall and mucosa
    wet: bool  # a film that mirrors the lamps
    coloured: bool  # mucosa, vessels, coloured polyps
    lamps_at_lens: bool  # one point lamp where the lens is, against one to three beside it
    any_lens: bool  # lens drawn from 60 to 170 degrees, against one pinhole
    clinic: bool  # fluid, bubbles, stool, instrument, peristalsis, dirt, noise, JPEG, text
    randomised: bool = False


_TUBE = Level(
    name="1",
    folds=Folds.NONE,
    simple_polyps=True,
    findings=False,
    relief=False,
    wet=False,
    coloured=False,
    lamps_at_lens=True,
    any_lens=False,
    clinic=False,
)
_RINGS = replace(_TUBE, name="2", folds=Folds.RINGS)
_HAUSTRA = replace(_RINGS, name="3", folds=Folds.HAUSTRAL, simple_polyps=False, findings=True)
_WET = replace(_HAUSTRA, name="4", relief=True, wet=True, lamps_at_lens=False)
_COLOURED = replace(_WET, name="5", coloured=True)
_CLINIC = replace(_COLOURED, name="6", any_lens=True, clinic=True)
_RANDOMISED = replace(_CLINIC, name="randomised", randomised=True)
LEVELS: dict[str, Level] = {
    each.name: each for each in (_TUBE, _RINGS, _HAUSTRA, _WET, _COLOURED, _CLINIC, _RANDOMISED)
}


def level(name: str | int) -> Level:
    """Return a level by its name; a misspelt one is answered with the nearest."""
    found = LEVELS.get(str(name))
    if found is None:
        close = get_close_matches(str(name), LEVELS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownNameError(f"no level is called {name!r}.{hint} Known: {', '.join(LEVELS)}.")
    return found
