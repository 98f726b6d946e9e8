"""Rows of text among the thin bright marks of an image.

A glint and a letter look alike alone. Letters come in rows: of one height, on one line, close
together, one after another. Marks are the connected pieces of a mask, boxes are (top, bottom,
left, right) in pixels with the far ends excluded.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Mask = NDArray[np.bool_]
Boxes = NDArray[np.int64]

LETTER_HEIGHT_PX = 5  # no font is legible below
LETTER_HEIGHT_SIDE = 0.12  # of the shorter side; larger pieces are no caption
LETTER_ASPECT_MAX = 5.0  # width over height: two or three letters may touch after compression
LETTER_FILL_MIN = 0.15  # share of its box that a letter's strokes cover
LETTERS_MIN = 4  # three glints in a row do happen
CROSSINGS_MIN = 1.18  # see `_letters`; rows of glints have up to 1.05, captions from 1.2
GAP_MAX = 1.0  # between neighbours, in heights: a letter space or a word space
LINE_SLACK = 0.18  # how far letters may leave the common line, in heights
HEIGHT_RATIO_MAX = 1.6  # a capital over a small letter
MARKS_MAX = 1500  # beyond, an image is glitter: pairs are compared, so time grows with the square


def in_text_rows(strokes: Mask) -> Mask:
    """Return those marks of `strokes` that stand in a row of text, with their dots and accents."""
    labels, count = ndimage.label(strokes, structure=np.ones((3, 3)))
    found = np.zeros_like(strokes)
    if count < LETTERS_MIN:
        return found
    boxes, crossings = _letters(labels, LETTER_HEIGHT_SIDE * min(strokes.shape))
    if not LETTERS_MIN <= len(boxes) <= MARKS_MAX:
        return found
    for members in _rows(boxes):
        row = boxes[members]
        if crossings[members].mean() < CROSSINGS_MIN:
            continue
        top, left = row[:, 0].min(), row[:, 2].min()
        bottom, right = row[:, 1].max(), row[:, 3].max()
        spare, beside = (bottom - top) // 4 + 1, 2 * (bottom - top)  # accents; letters that touch
        part = np.s_[max(top - spare, 0) : bottom + spare, max(left - beside, 0) : right + beside]
        found[part] = strokes[part]
    return found


def _letters(labels: NDArray[np.int32], height_max_px: float) -> tuple[Boxes, NDArray[np.float64]]:
    """Return boxes (N, 4) and crossings (N,) of the pieces that could be letters, left to right.

    The crossings of a piece are the strokes that a horizontal or vertical line through it meets,
    on average: 1 for a blob, 1.5 to 2 for letters.
    """
    slices = ndimage.find_objects(labels)
    boxes = np.array([[s[0].start, s[0].stop, s[1].start, s[1].stop] for s in slices])
    count = len(boxes) + 1
    area = np.bincount(labels.ravel(), minlength=count)[1:]
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    padded = np.pad(labels, 1)
    starts_right = labels[labels != padded[1:-1, :-2]]
    starts_down = labels[labels != padded[:-2, 1:-1]]
    across = np.bincount(starts_right, minlength=count)[1:] / height
    down = np.bincount(starts_down, minlength=count)[1:] / width
    keep = (height >= LETTER_HEIGHT_PX) & (height <= height_max_px)
    keep &= (width <= LETTER_ASPECT_MAX * height) & (area >= LETTER_FILL_MIN * height * width)
    kept = np.flatnonzero(keep)
    kept = kept[np.argsort(boxes[kept, 2], kind="stable")]
    return boxes[kept], ((across + down) / 2)[kept]


def _rows(boxes: Boxes) -> list[NDArray[np.int64]]:
    """Return the indices of letters that follow each other on one line, one array a row."""
    top, bottom, left, right = boxes.T
    height = (bottom - top).astype(float)
    tall = np.maximum(height[:, None], height)  # (N, N), entry [i, j]: is j the next letter of i?
    gap = left - right[:, None]
    fits = (gap >= -0.2 * tall) & (gap <= GAP_MAX * tall)
    fits &= left > left[:, None]
    fits &= tall <= HEIGHT_RATIO_MAX * np.minimum(height[:, None], height)
    on_line = np.abs(bottom - bottom[:, None]) <= LINE_SLACK * tall
    on_line |= np.abs(top - top[:, None]) <= LINE_SLACK * tall  # g, p, y hang below the line
    _, group = connected_components(csr_array(fits & on_line), directed=False)
    rows = (np.flatnonzero(group == g) for g in range(group.max() + 1))
    return [row for row in rows if len(row) >= LETTERS_MIN and _is_line(boxes[row])]


def _is_line(row: Boxes) -> bool:
    """Return whether most letters share a foot line, and the row is longer than it is high."""
    height = float(np.median(row[:, 1] - row[:, 0]))
    foot_off = np.abs(row[:, 1] - np.median(row[:, 1]))
    steady = bool((foot_off <= max(1.0, LINE_SLACK * height)).mean() >= 0.6)
    return steady and row[:, 3].max() - row[:, 2].min() >= 2 * (row[:, 1].max() - row[:, 0].min())
