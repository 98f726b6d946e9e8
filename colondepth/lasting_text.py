"""Text and graphics that a detector saw in the frames next to one: are they in this frame too?

A detector misses a caption now and then, so what it found in the neighbours counts. But a box that
follows a polyp is elsewhere in every frame, and blanking all its places would blank the polyp. So a
neighbour's mark is taken over where this frame shows the same pattern, faintly at least, and where
marks come before and after and this frame has none at all: there, one that moves was missed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

CELL_SIDE = 0.06  # of the shorter side: a caption's bar is lower, so a cell holds an edge of it
RING_PX = 4  # round a mark: the wall that it stands out from
# A caption that fades in shows this share of its contrast when it is just legible; the wall, where
# a box has moved on, resembles that box by half as much at most.
FAINTEST = 0.12
FLAT = 0.05  # of all colours together: marks that stand out less are compared by their pattern
NEAR_CELLS = 2  # how far a mark moves between neighbouring frames, at most


def lasting_marks(
    frame: Map,
    found: Mask,
    *,
    before: Sequence[tuple[Map, Mask]],
    after: Sequence[tuple[Map, Mask]],
) -> Mask:
    """Return which marks of its neighbours a frame shows too, apart from its own, (H, W).

    Args:
        frame: RGB in [0, 1], shape (3, H, W).
        found: its own marks, (H, W).
        before: neighbouring frames of the same size with their marks, and so is `after`.
        after: see `before`.
    """
    side = max(1, round(CELL_SIDE * min(found.shape)))
    lasting = np.zeros_like(found)
    cells = _missed_cells(found, before=before, after=after, side=side)
    for image, marks in (*before, *after):
        rest = marks & ~found
        if not rest.any():
            continue
        lasting |= rest & _per_pixel(cells, side, found.shape)
        lasting |= rest & _shown(frame, image, rest, found, side=side)
    return lasting


def _shown(frame: Map, image: Map, rest: Mask, found: Mask, *, side: int) -> Mask:
    """Return the cells in which `frame` shows the marks `rest` of its neighbour `image`.

    Compared is how far the marks' pixels stand out from those round them, in colour. Where they do
    not on average, as outlined letters may, all the pixels' pattern is compared.
    """
    rows, columns = (_span(np.asarray(rest.any(axis=axis)), RING_PX) for axis in (1, 0))
    part = np.s_[rows, columns]
    marks, own = rest[part], found[part]
    near = ndimage.maximum_filter(marks.view(np.uint8), 2 * RING_PX + 1, mode="constant") > 0
    ring = near & ~marks & ~own
    both = np.stack([frame[:, *part], image[:, *part]])  # (2, 3, h, w)
    step = _mean(both, marks, side) - _mean(both, ring, side)  # (2, 3, h / side, w / side)
    seen, strength = (step[0] * step[1]).sum(axis=0), (step[1] ** 2).sum(axis=0)
    all_of = marks | ring
    means = _mean(both, all_of, side)
    together = (_mean(both[0] * both[1], all_of, side) - means[0] * means[1]).sum(axis=0)
    spread = (_mean(both[1] ** 2, all_of, side) - means[1] ** 2).sum(axis=0)
    shown = np.where(strength > FLAT**2, seen >= FAINTEST * strength, together >= FAINTEST * spread)
    shown |= _cells(ring.astype(np.float32), side) == 0  # nothing to stand out from
    whole = np.zeros_like(rest)
    whole[part] = _per_pixel(shown, side, marks.shape)
    return whole


def _missed_cells(
    found: Mask,
    *,
    before: Sequence[tuple[Map, Mask]],
    after: Sequence[tuple[Map, Mask]],
    side: int,
) -> Mask:
    """Return the cells near which there are marks before and after, but none in this frame."""
    own, earlier, later = (
        ndimage.maximum_filter(_cells(marks.astype(np.float32), side) > 0, 2 * NEAR_CELLS + 1)
        for marks in (found, _joined(before, found), _joined(after, found))
    )
    return np.asarray(earlier & later & ~own)


def _joined(neighbours: Sequence[tuple[Map, Mask]], like: Mask) -> Mask:
    marks = [marks for _, marks in neighbours] or [np.zeros_like(like)]
    return np.asarray(np.logical_or.reduce(marks))


def _cells(values: Map, side: int) -> Map:
    """Return the sums over cells of `side` x `side` pixels, the last ones smaller."""
    height, width = values.shape[-2:]
    tall = np.add.reduceat(values, np.arange(0, height, side), axis=-2)
    return np.asarray(np.add.reduceat(tall, np.arange(0, width, side), axis=-1))


def _mean(values: Map, chosen: Mask, side: int) -> Map:
    """Return the means of the chosen pixels of each cell, 0 where there is none."""
    weight = chosen.astype(np.float32)
    return np.asarray(_cells(values * weight, side) / _cells(weight, side).clip(min=1))


def _per_pixel(cells: Mask, side: int, shape: tuple[int, ...]) -> Mask:
    tall = cells.repeat(side, axis=0)[: shape[0]]
    return np.asarray(tall.repeat(side, axis=1)[:, : shape[1]])


def _span(holds: NDArray[np.bool_], spare: int) -> slice:
    """Return from the first True to the last, and `spare` more on either side."""
    places = np.flatnonzero(holds)
    return slice(max(0, int(places[0]) - spare), int(places[-1]) + 1 + spare)
