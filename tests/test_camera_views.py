import math

import pytest
import torch
from lumens import CLOUD_MM, ball_is_free, distance_mm, lumen, off_lumen_deg
from torch import Tensor
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from synthetic_colons.camera_path import polyp_middle
from synthetic_colons.camera_views import ViewKind, ViewSettings, draw_views, partner

CLEARANCE_MM = ViewSettings().clearance_mm


def only(kind: ViewKind) -> ViewSettings:
    return ViewSettings(weights=tuple(float(each is kind) for each in ViewKind))


def views(kind: ViewKind, count: int = 300) -> Tensor:
    return draw_views(torch.Generator().manual_seed(3), lumen(), count, only(kind))


def mixed(count: int = 600, seed: int = 0) -> Tensor:
    return draw_views(torch.Generator().manual_seed(seed), lumen(), count)


def seen_mm(world_from_camera: Tensor) -> Tensor:
    """Return how far along the axis the surface begins, from the cloud, up to 60 mm."""
    far = torch.arange(0.5, 60, 0.5)
    place, axis = world_from_camera[:, :3, 3], world_from_camera[:, :3, 2]
    points = place[:, None] + far[:, None] * axis[:, None]  # (B, steps, 3)
    away = torch.from_numpy(distance_mm(points.reshape(-1, 3)))
    hit = away.reshape(len(place), len(far)) < 0.7
    return torch.where(hit.any(dim=1), far[hit.int().argmax(dim=1)], 60.0)


def turn_deg(a: Tensor, b: Tensor) -> Tensor:
    cosine = ((a[:, :3, :3].mT @ b[:, :3, :3]).diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    return torch.rad2deg(cosine.clamp(-1, 1).acos())


def test_no_view_and_no_partner_is_nearer_to_the_surface_than_promised() -> None:
    first = mixed()
    second = partner(torch.Generator().manual_seed(1), first, lumen())
    for poses in (first, second):
        assert distance_mm(poses[:, :3, 3]).min() > CLEARANCE_MM - CLOUD_MM
    for part in (0.25, 0.5, 0.75):
        points = torch.lerp(first[:, :3, 3], second[:, :3, 3], part)
        assert distance_mm(points).min() > CLEARANCE_MM - CLOUD_MM


def test_views_and_partners_are_rigid_and_right_handed() -> None:
    first = mixed()
    for poses in (first, partner(torch.Generator().manual_seed(1), first, lumen())):
        turn = poses[:, :3, :3]
        assert_close(turn.mT @ turn, torch.eye(3).expand_as(turn), atol=1e-6, rtol=0)
        assert_close(torch.linalg.det(turn), torch.ones(len(turn)), atol=2e-6, rtol=0)
        assert_close(poses[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(len(poses), 4))


def test_the_mixture_looks_along_the_lumen_both_ways_and_at_the_wall() -> None:
    off = off_lumen_deg(mixed(), lumen())
    assert (off < 45).float().mean() > 0.3
    assert ((off > 60) & (off < 120)).float().mean() > 0.2
    assert (off > 135).float().mean() > 0.1
    assert (seen_mm(mixed()) < 25).float().mean() > 0.25


def test_views_are_spread_over_the_whole_colon_and_roll_freely() -> None:
    poses = mixed()
    arc = lumen().coordinates(poses[:, :3, 3])[0] / lumen().length_mm
    assert torch.histc(arc, bins=8, min=0, max=1).min() > 0.05 * len(poses)
    down = poses[:, :3, 1]
    frame = lumen().line.at(arc * lumen().length_mm)[1]
    roll = torch.atan2((down * frame[..., 1]).sum(-1), (down * frame[..., 0]).sum(-1))
    assert torch.histc(roll, bins=6, min=-math.pi, max=math.pi).min() > 0.1 * len(poses)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (ViewKind.LUMEN_IN, 0, 75),
        (ViewKind.LUMEN_OUT, 105, 180),
        (ViewKind.EN_FACE, 40, 140),
        (ViewKind.RETROFLEXED, 90, 180),
    ],
)
def test_a_kind_looks_where_its_name_says(kind, low, high) -> None:
    off = off_lumen_deg(views(kind), lumen())
    assert ((off >= low) & (off <= high)).float().mean() > 0.95


def test_oblique_views_see_the_wall_from_25_to_75_degrees_off_the_lumen() -> None:
    off = off_lumen_deg(views(ViewKind.OBLIQUE), lumen())
    off = torch.minimum(off, 180 - off)  # the way in and the way out
    assert ((off > 10) & (off < 90)).float().mean() > 0.95
    assert 40 < off.median() < 60


def test_en_face_views_see_the_wall_4_to_25_mm_away() -> None:
    seen = seen_mm(views(ViewKind.EN_FACE))
    assert ((seen > 2.5) & (seen < 28)).float().mean() > 0.95
    assert (seen < 8).float().mean() > 0.2
    assert (seen > 14).float().mean() > 0.15


def test_polyp_views_have_a_polyp_in_the_middle() -> None:
    poses = views(ViewKind.POLYP)
    colon = lumen()
    spots = torch.stack([polyp_middle(colon, n + 1) for n in range(len(colon.draw.polyps))])
    towards = spots - poses[:, None, :3, 3]  # (B, K, 3)
    off = torch.linalg.cross(towards, poses[:, None, :3, 2].expand_as(towards)).norm(dim=-1)
    ahead = (towards * poses[:, None, :3, 2]).sum(dim=-1)
    aimed = (off < 10) & (ahead > 0) & (ahead < 45)  # mm
    assert aimed.any(dim=1).float().mean() > 0.95
    assert aimed.any(dim=0).all()


def test_caecum_views_stand_before_the_closed_end_and_look_at_it() -> None:
    poses = views(ViewKind.CAECUM)
    arc = lumen().coordinates(poses[:, :3, 3])[0]
    assert (arc > lumen().length_mm - 75).float().mean() > 0.98
    assert (off_lumen_deg(poses, lumen()) < 75).float().mean() > 0.95


def test_flexure_views_stand_where_the_colon_bends() -> None:
    bend = lumen().line.bend_radius_mm()

    def median_mm(kind: ViewKind) -> Tensor:
        arc = lumen().coordinates(views(kind)[:, :3, 3])[0]
        return bend[arc.round().long().clamp(0, len(bend) - 1)].median()

    assert median_mm(ViewKind.FLEXURE) < 0.8 * median_mm(ViewKind.LUMEN_IN)


def test_retroflexed_views_are_in_the_rectum_or_the_caecum() -> None:
    arc = lumen().coordinates(views(ViewKind.RETROFLEXED)[:, :3, 3])[0]
    names = {lumen().segment_name(each) for each in arc.tolist()}
    assert names == {"rectum", "caecum"}


def test_partners_are_1_to_8_mm_and_up_to_10_degrees_away() -> None:
    first = mixed()
    second = partner(torch.Generator().manual_seed(2), first, lumen())
    shift = (second - first)[:, :3, 3].norm(dim=-1)
    turn = turn_deg(first.double(), second.double())
    assert shift.max() < 8.001
    assert (shift > 0.999).float().mean() > 0.98
    assert shift.std() > 1
    assert turn.max() < 10.01
    assert turn.max() > 9
    assert turn.min() < 1


def test_the_same_generator_gives_the_same_views_and_partners() -> None:
    first = mixed(7, seed=5)
    assert torch.equal(first, mixed(7, seed=5))
    assert not torch.equal(first, mixed(7, seed=6))
    a, b = (partner(torch.Generator().manual_seed(9), first, lumen()) for _ in range(2))
    assert torch.equal(a, b)


def test_where_nothing_drawn_is_clear_a_view_moves_to_the_centre_line() -> None:
    settings = ViewSettings(
        clearance_mm=12.0, face_mm=(4.0, 5.0), weights=(0,) * 3 + (1,) + (0,) * 4
    )
    poses = draw_views(torch.Generator().manual_seed(1), lumen(), 9, settings)
    _, _, away = lumen().coordinates(poses[:, :3, 3])
    assert away.max() < 0.01
    assert ball_is_free(poses[:, :3, 3], 11.9).all()


def test_a_colon_without_that_much_room_is_refused() -> None:
    settings = ViewSettings(clearance_mm=70.0)
    with pytest.raises(DataError, match="open for 70 mm"):
        draw_views(torch.Generator(), lumen(), 2, settings)


@pytest.mark.parametrize(
    "wrong", [{"weights": (1.0, 2.0)}, {"face_mm": (25.0, 4.0)}, {"clearance_mm": 0.0}]
)
def test_settings_that_are_no_mixture_are_refused(wrong) -> None:
    with pytest.raises(DataError):
        ViewSettings(**wrong)


def test_wrong_counts_and_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="0 views"):
        draw_views(torch.Generator(), lumen(), 0)
    with pytest.raises(ShapeError, match="world_from_camera"):
        partner(torch.Generator(), torch.eye(4), lumen())
