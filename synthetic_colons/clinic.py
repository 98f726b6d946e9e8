"""What a real colonoscopy has in the lumen, added to rendered frames, with its own ground truth.

    colon = contracted(colon, draw, time_s)           before the rays are cast: the wall has moved
    frames = render(scene_of([colon], ...), ...)
    frames = add_clinic(frames, ...)                  bubbles, instrument, fluid, foam
    points = moved_points(frames, ..., to_s=...)      where all of it will be: the flow

Pixels of fluid (label 210) and instrument (211) have their depth, normals and albedo, and wall
coordinates of 0: no wall is known there. Bubbles (212) change light and albedo alone.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.bubbles import BUBBLE_LABEL, add_wall_bubbles
from synthetic_colons.clinic_settings import ClinicDraw
from synthetic_colons.colon import Colon
from synthetic_colons.fluid import FLUID_LABEL, paint_pool, pools_in_sight
from synthetic_colons.instrument import TOOL_LABEL, add_instrument, axis, out_mm
from synthetic_colons.light import Lamps
from synthetic_colons.peristalsis import moved_wall
from synthetic_colons.pixel_lists import Canvas
from synthetic_colons.renderer import Rendering
from synthetic_colons.sight import Sight

__all__ = ["BUBBLE_LABEL", "FLUID_LABEL", "TOOL_LABEL", "Moment", "add_clinic", "moved_points"]


def add_clinic(
    rendering: Rendering,
    view: Sight,
    world_from_camera: Tensor,
    lamps: Lamps,
    draw: ClinicDraw,
    time_s: Tensor,
) -> Rendering:
    """Add bubbles, the instrument and pools to frames; the rendering given is left as it is.

    Args:
        rendering: of B frames.
        view: its rays.
        world_from_camera: (B, 4, 4).
        lamps: of the frames.
        draw: of the clip.
        time_s: of each frame, (B,).
    """
    size = require_shapes(
        light=(rendering.light, "B 3 H W"),
        world_from_camera=(world_from_camera, "B 4 4"),
        time_s=(time_s, "B"),
        lamps=(lamps.numbers, "B N M"),
    )
    if (size["B"], size["H"], size["W"]) != (view.frames, view.height, view.width):
        raise DataError(
            f"a rendering of {size['B']} frames of {size['H']}x{size['W']} px, a view of"
            f" {view.frames} of {view.height}x{view.width}; expected those it was rendered with"
        )
    if not (draw.pools or draw.patches or draw.instrument):
        return rendering
    if rendering.light.device.type == "cpu" and view.frames > 1:
        # One by one, as the renderer does: what lists share a vector would change their last bits.
        each = [
            add_clinic(
                rendering[k : k + 1],
                view.of(k),
                world_from_camera[k : k + 1],
                Lamps(lamps.numbers[k : k + 1]),
                draw,
                time_s[k : k + 1],
            )
            for k in range(view.frames)
        ]
        names = [field.name for field in fields(Rendering)]
        return Rendering(**{n: torch.cat([getattr(one, n) for one in each]) for n in names})
    pose = world_from_camera.to(rendering.light)
    canvas = Canvas(rendering, view)
    # Pools are found while the wall's own coordinates still stand in the maps.
    pools = pools_in_sight(canvas, pose, draw)
    add_wall_bubbles(canvas, pose, lamps, draw, time_s)
    if draw.instrument is not None:
        add_instrument(canvas, lamps, draw.instrument, time_s)
    for pool in pools:
        paint_pool(canvas, pool, pose, lamps, draw, time_s)
    return canvas.rendering()


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """When and from where frames are seen."""

    world_from_camera: Tensor  # (B, 4, 4)
    time_s: Tensor  # (B,)
    scope_mm: Tensor | None = None  # (B,), if `contracted` was told


def moved_points(
    rendering: Rendering,
    view: Sight,
    colon: Colon,
    draw: ClinicDraw,
    *,
    here: Moment,
    there: Moment,
) -> Tensor:
    """Return where what frames show is at another moment, in the other camera's frame.

    Tissue goes with the wall, a fluid's surface keeps still, the instrument slides and goes with
    the camera. Projected, this is the flow.

    Args:
        rendering: of B frames, after `add_clinic`.
        view: its rays.
        colon: at rest.
        draw: of the clip.
        here: of the frames.
        there: the other moment.

    Returns:
        Points (B, 3, H, W), mm; 0 where nothing is known.
    """
    ray = view.spread_out(view.ray).to(rendering.light)  # (B, 3, H, W)
    own = rendering.distance_mm * ray
    pose, other = (each.world_from_camera.double() for each in (here, there))
    world = _turned(pose[:, :3, :3], own.double()) + pose[:, :3, 3, None, None]
    wall = moved_wall(
        rendering,
        world.to(own),
        colon,
        draw,
        from_s=here.time_s,
        to_s=there.time_s,
        from_scope_mm=here.scope_mm,
        to_scope_mm=there.scope_mm,
    )
    world = world + (wall - world.to(own))
    seen = _turned(other[:, :3, :3].mT, world - other[:, :3, 3, None, None]).to(own)
    if draw.instrument is not None:
        tool, to = draw.instrument, torch.tensor(axis(draw.instrument)).to(own)
        slid = torch.tensor(
            [
                out_mm(tool, after) - out_mm(tool, before)
                for before, after in zip(here.time_s.tolist(), there.time_s.tolist(), strict=True)
            ]
        ).to(own)
        moved = own + slid[:, None, None, None] * to[:, None, None]
        seen = torch.where(rendering.label == TOOL_LABEL, moved, seen)
    return torch.where(rendering.valid, seen, 0)


def _turned(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return the product (B, 3, 3) (B, 3, H, W), summed in one order."""
    columns = matrix[..., None, None]  # (B, 3, 3, 1, 1)
    total = columns[:, :, 0] * vector[:, None, 0]
    return total + columns[:, :, 1] * vector[:, None, 1] + columns[:, :, 2] * vector[:, None, 2]
