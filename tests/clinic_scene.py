"""A straight tube with things in it, seen by two cameras."""

import math
from functools import cache

import torch
from straight_colon import CAMERA, inside_tube, tube, tube_scene
from torch import Tensor

from colondepth.motion import so3_exp
from synthetic_colons.clinic_settings import (
    ClinicDraw,
    ClusterDraw,
    FoamDraw,
    InstrumentDraw,
    PatchDraw,
    PoolDraw,
    Tool,
    Triplet,
    plane_axes,
)
from synthetic_colons.light import Lamps, draw_lamps
from synthetic_colons.renderer import Rendering, render
from synthetic_colons.sight import Sight, sight

FOAM = FoamDraw(seed=11, cell_mm=4.0, density=0.9)
LEVEL_BELOW_AXIS_MM = 9.0
TIMES_S = torch.tensor([0.4, 1.7])


def sideways() -> Triplet:
    """Return an up that is not quite across the tube."""
    _, frame = tube().line.at(torch.tensor(200.0))
    up = torch.nn.functional.normalize(frame @ torch.tensor([0.8, 0.6, 0.03]), dim=0)
    x, y, z = up.tolist()
    return x, y, z


def pool(**changed: object) -> PoolDraw:
    up = torch.tensor(sideways())
    here, _ = tube().line.at(torch.tensor(200.0))
    numbers: dict[str, object] = {
        "from_mm": 60.0,
        "to_mm": 340.0,
        "level_mm": float(here @ up) - LEVEL_BELOW_AXIS_MM,
        "albedo": (0.4, 0.3, 0.1),
        "turbidity_mm": (12.0, 9.0, 5.0),
        "ripple_slope": 0.02,
        "ripple_phase_rad": 0.7,
        "clusters": (),
        "foam": FOAM,
    }
    return PoolDraw(**(numbers | changed))  # type: ignore[arg-type]


def foamy_pool() -> PoolDraw:
    here, _ = tube().line.at(torch.tensor(205.0))
    u, v = (float(here @ torch.tensor(axis)) for axis in plane_axes(sideways()))
    return pool(clusters=(ClusterDraw(u_mm=u, v_mm=v, radius_mm=30.0),))


def patch() -> PatchDraw:
    _, frame = tube().line.at(torch.tensor(190.0))
    x, y, z = frame[:, 2].tolist()
    return PatchDraw(
        arc_mm=190.0,
        angle_rad=2.9,
        length_mm=40.0,
        half_angle_rad=1.1,
        along=(x, y, z),
        foam=FOAM,
    )


def instrument(tool: Tool = Tool.FORCEPS, **changed: object) -> InstrumentDraw:
    numbers: dict[str, object] = {
        "tool": tool,
        "clock_rad": 1.1,
        "channel_offset_mm": 4.5,
        "inward_rad": 0.1,
        "sheath_radius_mm": 1.2,
        "sheath_albedo": (0.1, 0.2, 0.6),
        "reach_mm": 18.0,
        "swing_mm": 3.0,
        "swing_period_s": 4.0,
        "swing_phase_rad": 0.5,
        "thrust_s": 0.5,
        "out_s": -3.0,
        "back_s": 9.0,
        "roll_rad": 0.4,
        "opening_rad": 0.5,
        "loop_length_mm": 16.0,
        "loop_share": 0.5,
    }
    return InstrumentDraw(**(numbers | changed))  # type: ignore[arg-type]


def draw(**parts: object) -> ClinicDraw:
    return ClinicDraw(up=sideways(), **parts)  # type: ignore[arg-type]


@cache
def two_frames() -> tuple[Rendering, Sight, Tensor, Lamps]:
    """Return frames that look along the tube and across it, down at the fluid."""
    turns = torch.tensor([[0.1, -0.3, 0.2], [0.3, 0.5, 0.6]], dtype=torch.float64)
    poses = torch.stack(
        [
            inside_tube(arc_mm=170.0, shift_mm=(2.0, -1.0), turn=so3_exp(turns[0])),
            inside_tube(arc_mm=205.0, shift_mm=(3.0, 2.0), turn=so3_exp(turns[1])),
        ]
    )
    lamps = draw_lamps(torch.Generator().manual_seed(2), 2, count=2)
    view = sight(CAMERA, frames=2)
    which = torch.zeros(2, dtype=torch.long)
    frames = render(tube_scene(), view, poses, which=which, lamps=lamps)
    assert math.isfinite(float(frames.light.sum()))
    return frames, view, poses, lamps
