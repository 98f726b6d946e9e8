"""What others make of the same mesh and cameras: Embree's rays and VTK's picture.

Neither does what the renderer does: Embree gives a distance for each ray and nothing else, VTK a
shaded picture without texture. Both have the mesh already; making it is not counted.
"""

import math
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.shapes import require_shapes
from synthetic_colons.colon_mesh import ColonMesh

_WARM_UP = 3  # pictures, and rays of so many frames, that are not counted
_MISSED_MM = 1e4  # Embree answers with a huge number where it hits nothing


def embree_ms(mesh: ColonMesh, camera: Camera, world_from_camera: Tensor) -> dict[str, Any]:
    """Time Embree's distances of all rays of frames (T, 4, 4), on one thread.

    Returns:
        `times_ms`, one a frame; `version`; `hit_share`. Or `missing`, if embreex is not installed.
    """
    require_shapes(world_from_camera=(world_from_camera, "T 4 4"))
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError:
        return {"missing": "embreex is not installed: pip install embreex"}
    scene = EmbreeScene()
    corners = mesh.vertices[mesh.faces].float().numpy()  # (F, 3, 3)
    TriangleMesh(scene, corners)
    rays = camera.rays(camera.height, camera.width).double().flatten(end_dim=-2)  # (R, 3)
    rays = rays[(rays != 0).any(dim=-1)].cpu()
    times: list[float] = []
    hit = 0.0
    poses = world_from_camera.double().cpu()
    for pose in [poses[0]] * _WARM_UP + list(poses):
        directions = (rays @ pose[:3, :3].T).float().numpy()
        origins = pose[:3, 3].float().expand(len(rays), -1).contiguous().numpy()
        begun = time.perf_counter()
        distance = scene.run(origins, directions, query="DISTANCE")
        times.append(1000 * (time.perf_counter() - begun))
        hit += float((distance < _MISSED_MM).mean())
    return {
        "times_ms": times[_WARM_UP:],
        "rays": len(rays),
        "hit_share": hit / len(times),
        "version": version("embreex"),
        "threads": 1,
    }


def vtk_ms(mesh: ColonMesh, camera: Camera, world_from_camera: Tensor) -> dict[str, Any]:
    """Time VTK's off-screen pictures of frames (T, 4, 4), brought into memory.

    VTK's camera is a pinhole with square pixels; the vertical field is the camera's, up to 120
    degrees.
    """
    require_shapes(world_from_camera=(world_from_camera, "T 4 4"))
    try:
        import pyvista  # here: it takes seconds to import
    except ImportError:
        return {"missing": "pyvista is not installed: pip install pyvista"}
    faces = np.insert(mesh.faces.numpy(), 0, 3, axis=1)
    surface = pyvista.PolyData(mesh.vertices.float().numpy(), faces.ravel())
    down = float(camera.to(torch.zeros((), dtype=torch.float64)).field_of_view_rad()[1])
    times: list[float] = []
    poses = world_from_camera.double().cpu().numpy()
    with pyvista.vtk_verbosity("error"):
        plotter = pyvista.Plotter(off_screen=True, window_size=[camera.width, camera.height])
        plotter.add_mesh(surface, color=(0.8, 0.5, 0.45), smooth_shading=False)
        plotter.camera.view_angle = min(math.degrees(down), 120.0)
        plotter.camera.clipping_range = (0.5, 1000.0)
        plotter.show(auto_close=False)
        for pose in [poses[0]] * _WARM_UP + list(poses):
            begun = time.perf_counter()
            plotter.camera.position = pose[:3, 3]
            plotter.camera.focal_point = pose[:3, 3] + pose[:3, 2]
            plotter.camera.up = -pose[:3, 1]
            plotter.render()
            picture = plotter.screenshot(return_img=True)
            times.append(1000 * (time.perf_counter() - begun))
        graphics = _graphics(plotter)
        plotter.close()
    shown = float((np.asarray(picture) != np.asarray(picture)[:1, :1]).any(axis=-1).mean())
    return {
        "times_ms": times[_WARM_UP:],
        "shown_share": shown,
        "version": _version("vtk"),
        "graphics": graphics,
    }


def _graphics(plotter: Any) -> str | None:
    """Return what draws: a graphics card, or a program that stands in for one."""
    found = plotter.render_window.ReportCapabilities() or ""
    for line in found.splitlines():
        if "renderer string" in line.lower():
            return str(line.split(":", 1)[1].strip())
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
