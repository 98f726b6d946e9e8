"""Maps as pictures that a person can read: depth with a scale, normals, flow, masks over images.

Pictures are PNG files. Colours are safe for the colour-blind: cividis for depths and errors, and
orange over grey for masks.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from colondepth.atomic import written_whole

WIDTH_IN, DPI = 4.2, 110  # one panel of a page: 462 pixels wide
ORANGE = (230 / 255, 159 / 255, 0.0)  # Okabe and Ito (2008)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture of a row."""

    title: str
    pixels: NDArray[np.float32]  # (H, W, 3) colours, or (H, W) values with a scale
    unit: str = ""  # of the values; names the scale
    limits: tuple[float, float] | None = None


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
