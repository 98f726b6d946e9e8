"""Maps as pictures that a person can read: depth with a scale, normals, flow, masks over images.

Pictures are PNG files. Colours are safe for the colour-blind: cividis for depths and errors, and
orange over grey for masks.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from colondepth.atomic import written_whole

WIDTH_IN, DPI = 4.2, 110  # one panel of a page: 462 pixels wide
ORANGE = (230 / 255, 159 / 255, 0.0)  # Okabe and Ito (2008)

# A map beside its bar is an image with a palette, a third of the bytes and of the time: black for
# the unknown, then the colours of the scale, then greys up to white for the letters.
_BLACK, _SHADES = 0, 240
_LETTERS_HEIGHT = 1 / 32  # of the picture's ...
_LETTERS_LEAST_PX, _LETTERS_MOST_PX = 8, 48  # ... within these
_BAR_WIDTH = 7.0  # of the letters' height, with its numbers and words


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture of a row."""

    title: str
    pixels: NDArray[np.float32]  # (H, W, 3) colours, or (H, W) values with a scale
    unit: str = ""  # of the values; names the scale
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Which value has which colour; values beyond an end have the colour of that end."""

    words: str  # the quantity with its unit; what stands in brackets is left out where no room is
    low: float
    high: float
    low_is_bright: bool = False
    logarithmic: bool = False  # equal ratios have equal steps of colour

    def share(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return how far values lie between the ends, in [0, 1]."""
        values = np.clip(values, self.low, self.high)
        share: NDArray[Any] = (values - self.low) / (self.high - self.low)
        if self.logarithmic:
            share = np.log(values / self.low) / np.log(self.high / self.low)
        return share


def image_panel(title: str, image: Tensor) -> Panel:
    """Show an image (3, H, W) as it is."""
    return Panel(title=title, pixels=_colours(image))


def values_panel(
    title: str,
    values: Tensor,
    *,
    known: Tensor,
    unit: str,
    limits: tuple[float, float] | None = None,
) -> Panel:
    """Show a map (1, H, W) with its scale; what is not known stays blank."""
    numbers = values[0].detach().cpu().float().numpy().copy()
    numbers[~known[0].cpu().numpy()] = np.nan
    return Panel(title=title, pixels=numbers, unit=unit, limits=limits)


def normals_panel(title: str, normals: Tensor) -> Panel:
    """Show normals (3, H, W): red leans right, green down, blue towards the camera."""
    facing = normals * normals.new_tensor([1, 1, -1]).reshape(3, 1, 1)
    known = normals.abs().amax(dim=0) > 0
    return Panel(title=title, pixels=_colours((facing + 1) / 2 * known))


def mask_panel(title: str, image: Tensor, holds: Tensor) -> Panel:
    """Show where a mask (1, H, W) is True in orange, over the image in grey."""
    grey = image.mean(dim=0, keepdim=True).expand(3, -1, -1) * 0.8
    orange = image.new_tensor(ORANGE).reshape(3, 1, 1)
    return Panel(title=title, pixels=_colours(grey + holds * (0.75 * orange - 0.5 * grey)))


def flow_panel(title: str, image: Tensor, flow_px: Tensor, *, known: Tensor, every: int) -> Panel:
    """Show flow (2, H, W) as arrows to scale, one in `every` pixels, over the image in grey."""
    grey = _colours(image.mean(dim=0, keepdim=True).expand(3, -1, -1) * 0.7)
    figure = Figure(figsize=(grey.shape[1] / DPI, grey.shape[0] / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(grey)
    axes.set_axis_off()
    rows, columns = np.nonzero(known[0].cpu().numpy())
    picked = (rows % every == every // 2) & (columns % every == every // 2)
    rows, columns = rows[picked], columns[picked]
    u, v = flow_px.detach().cpu().numpy()[:, rows, columns]
    axes.quiver(
        columns, rows, u, v, angles="xy", scale_units="xy", scale=1, color=ORANGE, width=0.004
    )
    return Panel(title=title, pixels=_drawn(figure))


def write_row(panels: Sequence[Panel], path: Path) -> None:
    """Write panels side by side."""
    heights = [panel.pixels.shape[0] / panel.pixels.shape[1] for panel in panels]
    size = (WIDTH_IN * len(panels), WIDTH_IN * max(heights) + 0.4)
    with mpl.rc_context({"font.size": 9, "axes.titlelocation": "left"}):
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        for place, panel in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            _draw(figure, place, panel)
        with written_whole(path) as temporary:
            figure.savefig(temporary)


def write_scaled(values: NDArray[np.float32], path: Path, scale: Scale) -> None:
    """Write values (H, W), 0 where unknown, in colours, with the bar of the scale to the right.

    The map keeps its pixels: it is the left W columns of the picture, unknown is black.
    """
    pixels = _shades(scale.share(values), scale)
    pixels[values == 0] = _BLACK
    picture = Image.fromarray(np.concatenate([pixels, _bar(scale, values.shape[0])], axis=1))
    picture.putpalette(_palette())
    with written_whole(path) as temporary:
        picture.save(temporary)


def bar_width(height: int) -> int:
    """Return how many columns `write_scaled` adds to a map of a height: an even number."""
    return 2 * round(_BAR_WIDTH * _letters_px(height) / 2)


@cache
def _bar(scale: Scale, height: int) -> NDArray[np.uint8]:
    """Return the bar, (height, bar_width): colours from low, at the bottom, to high; numbers."""
    px = _letters_px(height)
    bar = np.zeros((height, bar_width(height)), np.uint8)
    top, bottom = (px, height - 1 - px) if height >= 4 * px else (0, height - 1)
    left, right = px // 2, px // 2 + round(1.2 * px)
    column = _shades(np.linspace(1, 0, bottom - top + 1), scale)
    bar[top : bottom + 1, left:right] = column[:, None]
    if height < 4 * px:
        return bar  # no letter could be read
    letters = Image.new("L", (bar.shape[1], height))
    draw = ImageDraw.Draw(letters)
    for share, words in _ticks(scale, apart=2 * px / (bottom - top)):
        y = bottom - share * (bottom - top)
        draw.line([(right, y), (right + px // 4, y)], fill=255)
        draw.text((right + px // 2, y), words, fill=255, font=_font(px), anchor="lm")
    for words in (scale.words, scale.words.partition(" (")[0]):
        if _font(px).getlength(words) <= height:
            along = Image.new("L", (height, round(1.3 * px)))
            place = (height // 2, along.height // 2)
            ImageDraw.Draw(along).text(place, words, fill=255, font=_font(px), anchor="mm")
            turned = along.transpose(Image.Transpose.ROTATE_90)
            letters.paste(turned, (bar.shape[1] - turned.width, 0))
            break
    grey = np.asarray(letters).astype(np.float32) / 255
    steps = 255 - _SHADES
    written = np.rint(grey * steps).astype(np.uint8)
    return np.where(written > 0, written + _SHADES, bar).astype(np.uint8)


def _ticks(scale: Scale, *, apart: float) -> list[tuple[float, str]]:
    """Return shares with their words: both ends, beyond which there may be more, and between."""
    ticks = [(0.0, f"≤{scale.low:g}"), (1.0, f"≥{scale.high:g}")]
    for value in MaxNLocator(max(1, int(0.7 / apart))).tick_values(scale.low, scale.high):
        share = float(scale.share(np.asarray(value)))
        if all(abs(share - other) >= apart for other, _ in ticks):
            ticks.append((share, f"{round(value, 6):g}"))
    return ticks


def _shades(share: NDArray[Any], scale: Scale) -> NDArray[np.uint8]:
    bright = 1 - share if scale.low_is_bright else share
    shades: NDArray[np.uint8] = (1 + np.rint(bright * (_SHADES - 1))).astype(np.uint8)
    return shades


def _letters_px(height: int) -> int:
    return int(np.clip(round(height * _LETTERS_HEIGHT), _LETTERS_LEAST_PX, _LETTERS_MOST_PX))


@cache
def _font(px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), px)


@cache
def _palette() -> bytes:
    colours = mpl.colormaps["cividis"](np.linspace(0, 1, _SHADES), bytes=True)[:, :3]
    greys = np.rint(np.linspace(0, 255, 256 - _SHADES))[1:, None].repeat(3, axis=1)
    return np.concatenate([np.zeros((1, 3)), colours, greys]).astype(np.uint8).tobytes()


def _draw(figure: Figure, axes: Any, panel: Panel) -> None:
    axes.set_title(panel.title)
    axes.set_axis_off()
    if panel.pixels.ndim == 3:
        axes.imshow(panel.pixels)
        return
    low, high = panel.limits or (None, None)
    colours = mpl.colormaps["cividis"].with_extremes(bad=(0, 0, 0, 0))
    shown = axes.imshow(panel.pixels, cmap=colours, vmin=low, vmax=high)
    figure.colorbar(shown, ax=axes, label=panel.unit, shrink=0.8)


def _colours(image: Tensor) -> NDArray[np.float32]:
    return image.detach().cpu().float().clamp(0, 1).movedim(0, -1).numpy()


def _drawn(figure: Figure) -> NDArray[np.float32]:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    pixels = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32)
    return pixels / np.float32(255)
