"""The splits that papers report on, by name; a clip that a split asks for must be there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from colondepth.errors import DataError, UnknownNameError
from colondepth.views import Clip, View

_SIMCOL_VAL = ("S4", "S9", "S14", "B4", "B9", "B14")
_SIMCOL_TEST = ("S5", "S10", "S15", "B5", "B10", "B15", "O1", "O2", "O3")
_C3VD = (
    *("cecum_t1_a", "cecum_t1_b", "cecum_t2_a", "cecum_t2_b", "cecum_t2_c", "cecum_t3_a"),
    *("cecum_t4_a", "cecum_t4_b", "desc_t4_a", "sigmoid_t1_a", "sigmoid_t2_a", "sigmoid_t3_a"),
    *("sigmoid_t3_b", "trans_t1_a", "trans_t1_b", "trans_t2_a", "trans_t2_b", "trans_t2_c"),
    *("trans_t3_a", "trans_t3_b", "trans_t4_a", "trans_t4_b"),
)
_PPSNET_VAL = (
    *("cecum_t1_a", "cecum_t2_a", "cecum_t3_a", "sigmoid_t3_a", "desc_t4_a_p2"),
    *("trans_t2_a", "trans_t3_a", "trans_t4_a"),
)
# The names of the clips, in the order of the tables.
SPLITS: Mapping[str, tuple[str, ...]] = {
    # README of the dataset and misc/train_file.txt, test_file.txt
    "simcol3d/train": tuple(
        f"{scene}{number}"
        for scene in "SB"
        for number in range(1, 16)
        if f"{scene}{number}" not in (*_SIMCOL_VAL, *_SIMCOL_TEST)
    ),
    "simcol3d/val": _SIMCOL_VAL,
    "simcol3d/test": _SIMCOL_TEST,
    "c3vd/all": _C3VD,
    # PPSNet (ECCV 2024) cuts desc_t4_a into p1 and p2; p2 is its frames 74 to 147.
    "c3vd/ppsnet-val": _PPSNET_VAL,
    "c3vd/ppsnet-train": (
        *(name for name in _C3VD if name not in (*_PPSNET_VAL, "desc_t4_a")),
        "desc_t4_a_p1",
    ),
}
_HALVES = {"desc_t4_a_p1": ("desc_t4_a", 0, 74), "desc_t4_a_p2": ("desc_t4_a", 74, 148)}


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Reads a stretch of a clip; a class, so that worker processes can have it."""

    clip: Clip
    start: int

    def __call__(self, number: int) -> View:
        return self.clip[self.start + number]


def split(clips: Sequence[Clip], name: str) -> tuple[Clip, ...]:
    """Return the clips of a named split, in its order.

    Args:
        clips: at least those of the split.
        name: one of `SPLITS`.
    """
    if name not in SPLITS:
        close = get_close_matches(name, SPLITS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownNameError(f"no split is called {name!r}.{hint} Known: {', '.join(SPLITS)}.")
    by_name: dict[str, Clip] = {}
    for clip in clips:
        if clip.name in by_name:
            raise DataError(f"two clips are called {clip.name!r}; open one copy of the dataset")
        by_name[clip.name] = clip
    for half, (whole, start, stop) in _HALVES.items():
        if half not in by_name and half in SPLITS[name] and whole in by_name:
            by_name[half] = _stretch(by_name[whole], half, start, stop)
    if missing := [clip for clip in SPLITS[name] if clip not in by_name]:
        raise DataError(
            f"the split {name} asks for {missing}, which are not among the {len(by_name)} clips"
            f" {sorted(by_name)[:4]}...; open the folder above all of them"
        )
    return tuple(by_name[clip] for clip in SPLITS[name])


def _stretch(clip: Clip, name: str, start: int, stop: int) -> Clip:
    """Return the frames numbered start to stop - 1; a gap would move the cut, and is refused."""
    wanted = [f"{number:04d}" for number in range(start, stop)]
    if list(clip.frame_ids[start:stop]) != wanted:
        raise DataError(
            f"{clip.name} has {len(clip)} frames, and not all of {wanted[0]} to {wanted[-1]} that"
            f" make {name}; the split was made from the whole sequence"
        )
    return Clip(_Stretch(clip, start), wanted, camera=clip.camera, name=name)
