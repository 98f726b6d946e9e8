"""A picture of a surface from outside, drawn with PyVista without a window.

PyVista is imported when a picture is asked for: it takes seconds, and training machines lack it.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colondepth.errors import DataError, MissingExtraError
from colondepth.reconstruction.surface import Surface

if TYPE_CHECKING:
    import pyvista

# From where a surface is looked at: from the right, above and behind the camera, whose x runs
# right, y down and z forward.
BESIDE = (0.8, -0.5, -0.5)
_UP = (0.0, -1.0, 0.0)
_PLAIN = (0.85, 0.6, 0.55)  # mucosa, where there are no colours
_BACKGROUND = (1.0, 1.0, 1.0)
_MARGIN = 1.1  # of the picture, as a share of what is drawn
_ALMOST_PARALLEL = 0.999  # cosine of the direction and `_UP`, which then says nothing


def surface_picture(
    surface: Surface,
    *,
    height: int = 480,
    width: int = 640,
    direction: tuple[float, float, float] = BESIDE,
) -> NDArray[np.uint8]:
    """Draw a surface as it looks from outside, all of it in the picture.

    Args:
        surface: drawn in its own colours, which have the light in them, or plain and lit.
        height: of the picture.
        width: of the picture.
        direction: from the surface's middle towards the eye; any length.

    Returns:
        RGB, shape (height, width, 3).
    """
    if not len(surface.faces):
        raise DataError("the surface has no triangle, there is nothing to draw")
    towards = np.asarray(direction, dtype=float)
    length = float(np.linalg.norm(towards))
    if towards.shape != (3,) or not (np.isfinite(length) and length > 0):
        raise DataError(f"the direction is {direction}, expected three numbers that are not all 0")
    if height < 1 or width < 1:
        raise DataError(f"a picture of {height}x{width} pixels; expected 1 or more each way")
    towards = towards / length
    pyvista = pyvista_here()
    with pyvista.vtk_verbosity("off"):  # it tells of every window system that is not there
        plotter = pyvista.Plotter(off_screen=True, window_size=(width, height))
    try:
        plotter.set_background(_BACKGROUND)
        if surface.colours is None:
            plotter.add_mesh(surface_mesh(surface), color=_PLAIN, smooth_shading=False)
        else:
            plotter.add_mesh(surface_mesh(surface), scalars="colours", rgb=True, lighting=False)
        _look(plotter, surface.vertices_mm.detach().cpu().double().numpy(), towards)
        picture: NDArray[np.uint8] = np.ascontiguousarray(plotter.screenshot(return_img=True))
    finally:
        plotter.close()
    return picture


def _look(plotter: Any, points: NDArray[np.float64], towards: NDArray[np.float64]) -> None:
    """Look along -`towards`, without perspective, at just what is there."""
    upright = abs(float(towards @ _UP)) < _ALMOST_PARALLEL
    right = np.cross(_UP if upright else (0.0, 0.0, 1.0), towards)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(towards, right), towards])  # right, up, nearer
    low, high = (points @ axes.T).min(axis=0), (points @ axes.T).max(axis=0)
    middle, extent = (low + high) / 2 @ axes, high - low
    width, height = plotter.window_size
    plotter.enable_parallel_projection()
    away = float(np.linalg.norm(extent)) or 1.0
    plotter.camera.focal_point = middle
    plotter.camera.position = middle + away * towards
    plotter.camera.up = axes[1]
    plotter.camera.parallel_scale = _MARGIN * max(extent[1], extent[0] * height / width, 1e-6) / 2
    plotter.reset_camera_clipping_range()


def surface_mesh(surface: Surface) -> "pyvista.PolyData":
    """Return a surface as PyVista draws it, with its colours as 8 bits."""
    faces = surface.faces.cpu().numpy()
    points = surface.vertices_mm.detach().cpu().numpy()
    mesh: pyvista.PolyData = pyvista_here().PolyData.from_regular_faces(points, faces)
    if surface.colours is not None:
        colours = surface.colours.detach().cpu().clamp(0, 1).numpy()
        mesh["colours"] = np.rint(colours * 255).astype(np.uint8)
    return mesh


def pyvista_here() -> Any:
    """Return PyVista, or say how to get it."""
    try:
        import pyvista
    except ImportError as error:
        raise MissingExtraError("pictures need PyVista: pip install pyvista") from error
    return pyvista
