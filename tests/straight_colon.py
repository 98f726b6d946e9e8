"""A colon that is a straight round tube, whose depth and light are known in closed form."""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from colondepth.cameras import Camera
from synthetic_colons.anatomy import ColonDraw, Folds
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.colon import Colon, build_colon
from synthetic_colons.levels import level
from synthetic_colons.looks import bake_looks
from synthetic_colons.renderer import Scene, scene_of

LENGTH_MM, RADIUS_MM = 400, 20.0
# Height, width, focal lengths and centre all differ from their partners.
H, W = 36, 48
CAMERA = Camera.pinhole(fx=40.0, fy=44.0, cx=23.3, cy=17.6, height=H, width=W).to(
    torch.zeros((), dtype=torch.float32)
)


def tube_draw() -> ColonDraw:
    draw = draw_colon(
        torch.Generator().manual_seed(0),
        folds=Folds.NONE,
        relief=False,
        simple_polyps=True,
        findings=False,
        stool=False,
    )
    ends = tuple(LENGTH_MM * (k + 1) / 6 for k in range(6))
    return replace(
        draw,
        length_mm=LENGTH_MM,
        controls=tuple((3.0, -2.0, 10.0 * k) for k in range(8)),
        segment_ends_mm=ends,
        segment_radius_mm=(RADIUS_MM,) * 6,
        polyps=(),
    )


@cache
def tube() -> Colon:
    return build_colon(tube_draw())


@cache
def tube_scene() -> Scene:
    colon = tube()
    return scene_of([colon], [bake_looks(colon, level(1), torch.Generator().manual_seed(1))])


def inside_tube(*, arc_mm: float, shift_mm: tuple[float, float], turn: Tensor) -> Tensor:
    """Return world_from_camera (4, 4) of a camera beside the tube's axis, turned from along it."""
    here, frame = tube().line.at(torch.tensor(arc_mm))
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = frame.double() @ turn.double()
    pose[:3, 3] = here.double() + frame[:, :2].double() @ torch.tensor(shift_mm).double()
    return pose
