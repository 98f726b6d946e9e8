"""A flight along the middle of a fused wall, as a film; drawn with PyVista without a window."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from colondepth.centre_line import CentreLine
from colondepth.films import film
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.surface_pictures import pyvista_here, surface_mesh

FRAMES_PER_S = 25
MM_PER_S = 12.0  # about as a scope is withdrawn
MOST_S = 20.0
FIELD_DEG = 100.0
_AHEAD_MM = 18.0  # where the eye looks, along the line


def write_fly_through(
    surface: Surface,
    line: CentreLine,
    stretch_mm: tuple[float, float],
    path: Path,
    *,
    height: int = 400,
    width: int = 500,
    tick: Callable[[float], None] = lambda share: None,
) -> None:
    """Fly from one end of a stretch to the other, looking ahead, and write it as MP4.

    Args:
        surface: the wall, in its own colours.
        line: through its lumen.
        stretch_mm: arc lengths of the line.
        path: an .mp4 file.
        height: of the pictures.
        width: of the pictures.
        tick: called with the share that is done.
    """
    low, high = stretch_mm
    seconds = min(MOST_S, max(2.0, (high - low) / MM_PER_S))
    count = round(seconds * FRAMES_PER_S)
    arc = torch.linspace(low, high, count)
    places, frames = line.at(arc)
    targets, _ = line.at((arc + _AHEAD_MM).clamp(max=line.length_mm))
    # The frame that does not twist is the eye's: no roll.
    ups = frames[..., 0].numpy()
    pyvista = pyvista_here()
    with pyvista.vtk_verbosity("off"):
        plotter = pyvista.Plotter(off_screen=True, window_size=(width, height))
    try:
        plotter.set_background((0.0, 0.0, 0.0))
        coloured = surface.colours is not None
        plotter.add_mesh(
            surface_mesh(surface),
            **({"scalars": "colours", "rgb": True} if coloured else {"color": (0.85, 0.6, 0.55)}),
            lighting=False,
        )
        plotter.camera.view_angle = FIELD_DEG
        with film(path, height=height, width=width) as add:
            for number in range(count):
                plotter.camera.position = places[number].tolist()
                plotter.camera.focal_point = targets[number].tolist()
                plotter.camera.up = ups[number].tolist()
                plotter.camera.clipping_range = (0.5, 400.0)
                plotter.render()
                picture = np.ascontiguousarray(plotter.screenshot(return_img=True))
                add(torch.from_numpy(picture).movedim(-1, 0).float() / 255, number / FRAMES_PER_S)
                tick((number + 1) / count)
    finally:
        plotter.close()
