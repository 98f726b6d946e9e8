"""The field of a colon, the bounds on it, and rays that use both."""

import math

import pytest
import torch
from lumens import lumen
from torch.testing import assert_close

from colondepth.cameras import Camera
from synthetic_colons.anatomy import Folds
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.colon import Colon, build_colon
from synthetic_colons.marching import BUNDLE_STEPS, cast, stride
from synthetic_colons.renderer import _in_world
from synthetic_colons.sight import sight
from synthetic_colons.wall_tables import ROUND_WINDOWS


def points_inside(colon: Colon, count: int, *, seed: int) -> torch.Tensor:
    dice = torch.Generator().manual_seed(seed)
    arc = torch.rand(count, generator=dice) * (colon.length_mm - 6) + 3
    angle = torch.rand(count, generator=dice) * 2 * math.pi
    row = (arc / 0.5).round().long()
    column = (angle / (2 * math.pi) * 256).round().long() % 256
    share = torch.rand(count, generator=dice).sqrt()
    points = colon.line.point(arc, angle, share * colon.wall.radius_mm[row, column])
    return points[colon.field(points) > 0]


def test_wall_coordinates_lead_back_to_the_point():
    colon = lumen()
    points = points_inside(colon, 500, seed=1)
    arc, angle, away = colon.coordinates(points)
    assert_close(colon.line.point(arc, angle, away), points, atol=1e-3, rtol=0)


def test_the_normal_is_the_fields_gradient():
    colon = lumen()
    points = points_inside(colon, 400, seed=2)
    points = points[colon.coordinates(points)[2] > 3]
    step = 0.02
    axes = torch.eye(3) * step
    slopes = torch.stack(
        [(colon.field(points + a) - colon.field(points - a)) / (2 * step) for a in axes], dim=-1
    )
    turned = (torch.nn.functional.normalize(slopes, dim=-1) * colon.normals(points)).sum(dim=-1)
    angle_deg = torch.rad2deg(turned.clamp(-1, 1).acos())
    assert angle_deg.median() < 0.3
    assert angle_deg.quantile(0.99) < 3


def test_a_ball_of_the_free_distance_holds_no_surface():
    colon = lumen()
    points = points_inside(colon, 300, seed=3)
    free = colon.clearance_mm(points)
    assert free.max() > 0.9 * ROUND_WINDOWS[-1]
    dice = torch.Generator().manual_seed(4)
    around = torch.nn.functional.normalize(torch.randn(200, 3, generator=dice), dim=-1)
    shells = points[:, None] + 0.999 * free[:, None, None] * around
    assert colon.field(shells.reshape(-1, 3)).min() > -1e-3


def cast_all(colon: Colon, camera: Camera, pose: torch.Tensor) -> tuple[torch.Tensor, ...]:
    view = sight(camera, frames=1)
    start = colon.coordinates(pose[None, :3, 3].float())[0]
    origin, direction = _in_world(pose[None].float(), view.bundle_frame, view.bundle_ray)
    distance, arc = torch.zeros_like(view.spread), start.expand(len(view.spread)).clone()
    colon_of = torch.zeros(len(distance), dtype=torch.int32)
    for _ in range(BUNDLE_STEPS):
        distance, arc = stride(
            origin, direction, distance, arc, colon_of, view.spread, colon.tables
        )
    origin, direction = _in_world(pose[None].float(), view.frame, view.ray)
    colon_of = torch.zeros(len(view.pixel), dtype=torch.int32)
    bundled = distance[view.bundle]
    hits = cast(origin, direction, bundled, arc[view.bundle], colon_of, colon.tables)
    return origin, direction, bundled, hits.distance_mm, hits.arrived


def look_along(colon: Colon, arc_mm: float, *, back: bool, offset_mm: float) -> torch.Tensor:
    here, frame = colon.line.at(torch.tensor(arc_mm))
    sign = torch.tensor([1.0, -1.0, -1.0] if back else [1.0, 1.0, 1.0])
    pose = torch.eye(4)
    pose[:3, :3] = frame * sign
    pose[:3, 3] = here + offset_mm * frame[:, 0]
    return pose


CASES = [
    (Folds.NONE, 300.0, False),
    (Folds.RINGS, 500.0, True),
    (Folds.HAUSTRAL, 700.0, False),
    (Folds.HAUSTRAL, 60.0, True),  # towards the rectum's end
    (Folds.HAUSTRAL, -60.0, False),  # towards the caecum's
]


@pytest.mark.parametrize(("folds", "arc", "back"), CASES)
def test_no_ray_steps_through_the_wall_and_none_stops_before_it(folds, arc, back):
    """Against steps of 0.04 mm along every ray, which ask the field alone."""
    draw = draw_colon(
        torch.Generator().manual_seed(11),
        folds=folds,
        relief=folds is Folds.HAUSTRAL,
        simple_polyps=False,
        findings=True,
        stool=True,
    )
    colon = build_colon(draw)
    arc = arc if arc > 0 else colon.length_mm + arc
    camera = Camera.pinhole(fx=14.0, fy=15.0, cx=9.3, cy=7.1, height=15, width=20)
    pose = look_along(colon, arc, back=back, offset_mm=2.0)
    origin, direction, bundled, found, arrived = cast_all(colon, camera, pose)
    assert arrived.all()
    assert (bundled <= found + 1e-4).all()  # bundles stay before the wall of all their rays
    step = 0.04
    first = torch.full_like(found, torch.inf)
    for start in torch.arange(0.0, float(found.max()) + 2, 4.0):
        along = start + step * torch.arange(100)
        points = origin[:, :, None] + along * direction[:, :, None]  # (3, R, 100)
        field = colon.field(points.movedim(0, -1).reshape(-1, 3)).reshape(len(found), -1)
        crossed = field < 0
        here = torch.where(crossed.any(dim=1), along[crossed.float().argmax(dim=1)], torch.inf)
        first = torch.minimum(first, here)
    assert (found <= first + 1e-3).all()  # not one ray goes past the first crossing
    late = (first - found) > step + 2e-3  # it may touch what steps of 0.04 mm jump over
    assert late.float().mean() < 0.01


def test_labels_name_the_polyp_that_a_point_lies_on():
    colon = lumen()
    for number in (1, 2):
        own = colon.stalked[colon.stalked_numbers.index(number)]
        head, base = own[3:6], own[:3]
        axis = torch.nn.functional.normalize(head - base, dim=0)
        top = head + axis * own[7]
        assert abs(float(colon.field(top[None]))) < 0.05
        assert int(colon.labels(top[None])) == number
    polyp = colon.polyp(4)
    row = round(polyp.arc_mm / 0.5)
    column = round(polyp.angle_rad / (2 * math.pi) * 256) % 256
    place = colon.line.point(
        torch.tensor([polyp.arc_mm]),
        torch.tensor([polyp.angle_rad]),
        colon.wall.radius_mm[row, column][None],
    )
    assert int(colon.labels(place)) == 4


def test_segments_follow_each_other_from_rectum_to_caecum():
    colon = lumen()
    ends = colon.draw.segment_ends_mm
    names = [colon.segment_name(end - 1) for end in ends]
    assert names == ["rectum", "sigmoid", "descending", "transverse", "ascending", "caecum"]
