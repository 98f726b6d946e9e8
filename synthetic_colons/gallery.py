"""One contact sheet of all levels: a row each, every picture beside its depth."""

from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from colondepth.errors import DataError
from colondepth.pictures import image_panel, values_panel
from synthetic_colons.clips import Frame, SyntheticClip

DEPTH_SHOWN_MM = 100.0  # the end of the colour scale: farther wall is dark in any scope's light
_FRAMES = 90  # of each clip, 3 s; the picture is its middle, so that moves have set in
_LABEL_PX, _SCALE_PX, _GAP_PX, _LETTER_PX = 96, 44, 4, 18
_PAPER, _INK = (255, 255, 255), (0, 0, 0)

Pixels = NDArray[np.uint8]  # (H, W, 3)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def gallery(
    levels: Sequence[str],
    *,
    columns: int,
    height: int,
    width: int,
    seed: int,
    device: torch.device | str = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> Tensor:
    """Render a contact sheet, (3, rows, columns) in [0, 1]; every picture is of another colon.

    Args:
        levels: names of `levels.LEVELS`, one for each row.
        columns: pictures in a row, each with its depth.
        height: of a picture.
        width: of a picture.
        seed: of the clips.
        device: where they are rendered.
        tick: called after every picture.
    """
    if not levels or columns < 1:
        raise DataError(f"{len(levels)} levels by {columns} columns; expected 1 or more of each")
    pair = 2 * width + _GAP_PX
    size = (
        len(levels) * (height + _GAP_PX) + _SCALE_PX,
        _LABEL_PX + columns * (pair + 2 * _GAP_PX),
    )
    sheet: Pixels = np.full((*size, 3), _PAPER, dtype=np.uint8)
    for row, name in enumerate(levels):
        for column in range(columns):
            clip = SyntheticClip(
                name,
                seed=seed,
                number=column,
                frames=_FRAMES,
                height=height,
                width=width,
                device=device,
            )
            top = row * (height + _GAP_PX)
            left = _LABEL_PX + column * (pair + 2 * _GAP_PX)
            sheet[top : top + height, left : left + pair] = _pair(clip[_FRAMES // 2])
            tick()
    written = Image.fromarray(sheet)
    pen = ImageDraw.Draw(written)
    font = ImageFont.load_default(_LETTER_PX)
    for row, name in enumerate(levels):
        middle = row * (height + _GAP_PX) + height // 2
        words = f"level {name}" if len(name) == 1 else name
        pen.text((_LABEL_PX // 2, middle), words, fill=_INK, font=_fitting(words), anchor="mm")
    _scale(written, pen, font)
    pixels = torch.from_numpy(np.array(written)).movedim(-1, 0)
    return pixels.float() / 255


def _pair(frame: Frame) -> Pixels:
    """Put a picture and its depth side by side; unknown depth is paper."""
    view = frame.view
    depth = view["depth_mm"]
    picture = image_panel("", view["image"]).pixels
    panel = values_panel("", depth, known=depth > 0, unit="mm", limits=(0, DEPTH_SHOWN_MM))
    gap = np.ones((picture.shape[0], _GAP_PX, 3), dtype=np.float32)
    return _bytes(np.concatenate([picture, gap, _coloured(panel.pixels / DEPTH_SHOWN_MM)], axis=1))


def _coloured(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colour values (H, W) in [0, 1] as `colondepth.pictures` does; NaN is white."""
    colours = mpl.colormaps["cividis"].with_extremes(bad=(1, 1, 1, 1))
    found: NDArray[np.float32] = colours(np.ma.masked_invalid(shares))[..., :3].astype(np.float32)
    return found


def _scale(sheet: Image.Image, pen: ImageDraw.ImageDraw, font: Font) -> None:
    """Draw the scale of depth at the foot."""
    long, thick = _LABEL_PX - 2 * _GAP_PX, _SCALE_PX // 3
    top = sheet.height - _SCALE_PX // 2 - thick // 2
    ramp = np.linspace(0, 1, long, dtype=np.float32)[None].repeat(thick, axis=0)
    sheet.paste(Image.fromarray(_bytes(_coloured(ramp))), (_GAP_PX, top))
    words = f"depth 0 to {DEPTH_SHOWN_MM:.0f} mm, white unknown"
    beside = (_LABEL_PX, top + thick // 2)
    pen.text(beside, words, fill=_INK, font=font, anchor="lm")


def _fitting(words: str) -> Font:
    """Return the font in which words fit beside a row."""
    size = _LETTER_PX
    while size > 8 and ImageFont.load_default(size).getlength(words) > _LABEL_PX - 2 * _GAP_PX:
        size -= 1
    return ImageFont.load_default(size)


def _bytes(colours: NDArray[np.float32]) -> Pixels:
    return (colours * 255).round().astype(np.uint8)
