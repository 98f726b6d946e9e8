"""Burnt-in text as processors and archives write it: number, date, time, scope settings, a caption.

All strings are random and belong to nobody. Text is drawn once a clip, with Pillow's own font.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from colondepth.errors import DataError

# Smallest letters that Pillow's font keeps readable, px.
_SMALLEST_PX = 7
_MARGIN_SIDE = 0.02
_CAPTIONS = ("ascending colon", "caecum", "rectum", "after washing", "withdrawal", "polyp?")
_SETTINGS = ("Gr:{a}", "E:{a}{b}", "Ct:N", "C:{a}", "Iris:AVE", "Zoom 1.{b}x", "CVP:{a}/{b}", "WL")


class TextLayout(StrEnum):
    """Where the lines stand."""

    NONE = "none"
    COLUMN = "column"  # one under the other at the left edge
    CORNERS = "corners"  # one block in two of the corners
    CAPTION = "caption"  # one large line in the middle of the upper edge


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLine:
    """One line of text; its place is that of its upper left corner."""

    text: str
    left_px: float
    top_px: float
    height_px: int


def draw_lines(
    generator: torch.Generator,
    height: int,
    width: int,
    *,
    layout: TextLayout,
    letter_side: float,
) -> tuple[TextLine, ...]:
    """Draw what is written on one clip and where.

    Args:
        generator: gives the strings and places.
        height: of the image, px.
        width: of the image, px.
        layout: where the lines stand.
        letter_side: height of a line as a share of the image's shorter side.
    """

    def below(end: int) -> int:
        return int(torch.randint(end, (), generator=generator, device=generator.device))

    if layout is TextLayout.NONE:
        return ()
    side = min(height, width)
    size = max(_SMALLEST_PX, round(letter_side * side))
    margin = _MARGIN_SIDE * side
    if layout is TextLayout.CAPTION:
        size = round(1.3 * size)
        text = _CAPTIONS[below(len(_CAPTIONS))]
        left = (width - _width_px(text, size)) / 2
        return (TextLine(text=text, left_px=max(0, left), top_px=margin, height_px=size),)
    date = f"{1 + below(28):02d}/{1 + below(12):02d}/{2001 + below(24)}"
    clock = f"{below(24):02d}:{below(60):02d}:{below(60):02d}"
    number = f"ID:{below(10**6):06d}"
    extras = [_SETTINGS[below(len(_SETTINGS))] for _ in range(1 + below(3))]
    extras = [extra.format(a="ABCDN"[below(5)], b=below(10)) for extra in extras]
    upper = [number, date, clock][: 1 + below(3)]
    if layout is TextLayout.COLUMN:
        top = margin + below(1 + height // 4)
        return _block(upper + extras, margin, top, size)
    right = width - margin - max(_width_px(extra, size) for extra in extras)
    bottom = height - margin - 1.2 * size * len(extras)
    return _block(upper, margin, margin, size) + _block(extras, max(0, right), bottom, size)


def text_cover(lines: tuple[TextLine, ...], height: int, width: int) -> Tensor:
    """Return how much of each pixel the letters cover, in [0, 1], shape (1, H, W), on the CPU."""
    if height < 1 or width < 1:
        raise DataError(f"an image of {height}x{width} pixels has no room for text")
    if not lines:
        return torch.zeros(1, height, width)
    sheet = Image.new("L", (width, height))
    pen = ImageDraw.Draw(sheet)
    for line in lines:
        font = ImageFont.load_default(size=line.height_px)
        pen.text((line.left_px, line.top_px), line.text, fill=255, font=font)
    return torch.from_numpy(np.array(sheet, dtype=np.float32) / 255)[None]


def _block(texts: list[str], left: float, top: float, size: int) -> tuple[TextLine, ...]:
    return tuple(
        TextLine(text=text, left_px=left, top_px=top + 1.2 * size * row, height_px=size)
        for row, text in enumerate(texts)
    )


def _width_px(text: str, size: int) -> float:
    return float(ImageFont.load_default(size=size).getlength(text))
