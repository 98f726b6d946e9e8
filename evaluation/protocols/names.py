"""Which protocols there are; each is imported when it is asked for, as it needs torch."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from colondepth.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from evaluation.protocols.protocol import Protocol

# What each is for, in a line.
PURPOSES: Mapping[str, str] = {
    "sfsnet": "Ruano's synthetic colons: metric, no mask, 8 bits.",
    "simcol3d": "SimCol3D challenge: one scale per trajectory.",
    "c3vd": "C3VD on the fisheye's own pixels, in mm.",
    "c3vd-ppsnet": "C3VD as PPSNet: straightened, one robust scale per frame.",
    "c3vd-endodac": "C3VD as EndoDAC: cropped, median scaling.",
    "scared": "SCARED as EndoDAC and others: median scaling, 150 mm.",
    "hamlyn": "Hamlyn as EndoDAC: median scaling, 300 mm.",
    "kitti-eigen": "KITTI, Eigen's split with Garg's crop, 80 m.",
    "synthetic": "Rendered colons of levels 1 to 6 that nothing trains on.",
}
# Names whose scoring is not by a protocol of depth errors.
ELSEWHERE: Mapping[str, str] = {
    "etis": "images with a polyp's mask and no depth: what can be known without truth",
}


def names() -> tuple[str, ...]:
    """Return the names of protocols that score depth, in the order of the tables."""
    return tuple(PURPOSES)


def named_protocol(name: str) -> "Protocol":
    """Return a protocol; a misspelt name is answered with the nearest right one."""
    if name in ELSEWHERE:
        raise DataError(
            f"{name!r} has no truth to compare depth with ({ELSEWHERE[name]}); evaluation.etis"
            f" scores it: `colondepth evaluate {name}`"
        )
    if name not in PURPOSES:
        known = (*PURPOSES, *ELSEWHERE)
        close = get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownNameError(f"no protocol is called {name!r}.{hint} Known: {', '.join(known)}.")
    module = import_module(f"evaluation.protocols.{name.replace('-', '_')}")
    protocol: Protocol = module.PROTOCOL
    return protocol
