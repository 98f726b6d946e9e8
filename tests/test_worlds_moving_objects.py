"""Moving objects: both flows, the mask between them, and what hides what."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from colondepth.errors import DataError
from colondepth.geometry import pixels_from_flow, rigid_flow, unproject
from colondepth.motion import inverse, require_rigid, transform
from colondepth.warping import Lookup, sample
from synthetic_colons.worlds.moving_objects import (
    MovingObjectsSettings,
    draw_moving_objects,
    moving_objects,
)
from synthetic_colons.worlds.sights import see

SETTINGS = MovingObjectsSettings(height=72, width=96, field_of_view_rad=1.4)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Maps this small gain nothing from threads, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pairs():
    return moving_objects(SETTINGS, range(16), seed=1, dtype=torch.float64)


def test_a_pair_is_the_same_pixel_by_pixel_in_every_batch():
    together = moving_objects(SETTINGS, (3, 11, 6), seed=2)
    alone = moving_objects(SETTINGS, (11,), seed=2)
    for name, value in alone.items():
        if name != "camera":
            assert torch.equal(value[0], together[name][1]), name
    assert not torch.equal(moving_objects(SETTINGS, (11,), seed=3)["image"], alone["image"])


def test_the_rigid_flow_is_that_of_depth_and_camera(pairs):
    require_rigid(next_from_first=pairs["next_from_first"])
    flow, lands = rigid_flow(pairs["depth_mm"], pairs["camera"], pairs["next_from_first"])
    both = lands.expand_as(flow)
    assert lands.double().mean() > 0.9
    assert_close(pairs["rigid_flow_px"][both], flow[both], atol=1e-8, rtol=1e-8)


def test_only_what_moves_by_itself_has_a_flow_of_its_own(pairs):
    own = (pairs["flow_px"] - pairs["rigid_flow_px"]).norm(dim=1, keepdim=True)
    assert own[~pairs["moving"]].max() < 1e-6
    assert (own[pairs["moving"]] > 0.3).double().mean() > 0.9
    share = pairs["moving"].double().mean(dim=(1, 2, 3))
    assert (share > 0).double().mean() > 0.9
    assert 0.02 < share.mean() < 0.3


def test_moving_points_end_where_their_object_took_them(pairs):
    world = draw_moving_objects(SETTINGS, range(16), seed=1, dtype=torch.float64)
    sight = see(world.before, SETTINGS.camera(), torch.eye(4).double().expand(16, 4, 4))
    points = unproject(sight.depth_mm, pairs["camera"])  # the first camera's frame is the world's
    expected = torch.zeros_like(pairs["flow_px"])
    for number in range(len(world.before.kinds)):
        moved = _carried(points, world, number)
        pixels, _ = pairs["camera"].project(transform(pairs["next_from_first"], moved))
        flow = (pixels - pixels_from_flow(torch.zeros_like(expected))).movedim(-1, 1)
        expected = torch.where(sight.solid == number, flow, expected)
    visible = ~pairs["occluded"].expand_as(expected)
    assert_close(pairs["flow_px"][visible], expected[visible], atol=1e-6, rtol=1e-6)


def test_images_follow_the_flow_where_nothing_hides(pairs):
    for image, other, flow, hidden in (
        ("image", "next", "flow_px", "occluded"),
        ("next", "image", "flow_back_px", "occluded_back"),
    ):
        found, _ = sample(pairs[other], pixels_from_flow(pairs[flow]), lookup=Lookup.BILINEAR)
        off = (found - pairs[image]).abs().mean(dim=1, keepdim=True)
        unmoved = (pairs[other] - pairs[image]).abs().mean(dim=1, keepdim=True)
        seen = ~pairs[hidden]
        assert off[seen].median() < 0.02
        assert off[seen].mean() < 0.35 * unmoved[seen].mean()


def test_there_and_back_is_where_it_began(pairs):
    there = pixels_from_flow(pairs["flow_px"])
    back, _ = sample(pairs["flow_back_px"], there, lookup=Lookup.BILINEAR)
    miss = (pairs["flow_px"] + back).norm(dim=1, keepdim=True)
    seen = ~pairs["occluded"]
    assert miss[seen].median() < 0.01
    assert (miss[seen] > 0.5).double().mean() < 0.05
    assert (miss[pairs["occluded"]] > 0.5).double().mean() > 0.5


def test_what_is_hidden_lies_behind_what_the_next_frame_sees(pairs):
    world = draw_moving_objects(SETTINGS, range(16), seed=1, dtype=torch.float64)
    sight = see(world.before, SETTINGS.camera(), torch.eye(4).double().expand(16, 4, 4))
    points = unproject(sight.depth_mm, pairs["camera"])
    depth = torch.zeros_like(pairs["depth_mm"])
    for number in range(len(world.before.kinds)):
        ahead = transform(pairs["next_from_first"], _carried(points, world, number))
        depth = torch.where(sight.solid == number, ahead[..., 2][:, None], depth)
    # The next frame at three times the size: depth edges are then a third of a pixel wide.
    large = SETTINGS.camera().resized(3 * 72, 3 * 96)
    seen_mm = see(world.after, large, inverse(pairs["next_from_first"])).depth_mm
    pixels = pixels_from_flow(pairs["flow_px"])
    found, inside = sample(seen_mm, 3 * pixels + 1, lookup=Lookup.NEAREST)
    behind = ~inside | (found < 0.98 * depth)
    differ = behind != pairs["occluded"]
    assert differ.double().mean() < 0.01
    within = inside & pairs["occluded"]
    assert within.double().mean() > 0.005
    assert behind[within].double().mean() > 0.8


def test_a_camera_that_rests_sees_the_objects_move_and_nothing_else(pairs):
    still = (pairs["next_from_first"] == torch.eye(4).double()).all(dim=-1).all(dim=-1)
    assert bool(still.any())
    assert not bool(still.all())
    flow = pairs["flow_px"][still].norm(dim=1, keepdim=True)
    assert flow[~pairs["moving"][still]].max() < 1e-9


def test_the_camera_is_never_inside_anything():
    large = moving_objects(MovingObjectsSettings(height=18, width=24), range(150), seed=4)
    assert large["depth_mm"].min() > 0.7
    assert large["next_depth_mm"].min() > 0.7


def test_rooms_are_boxes_and_tubes():
    world = draw_moving_objects(SETTINGS, range(40), seed=1)
    rooms = world.before.present[:, :2].sum(dim=0)
    assert rooms.sum() == 40
    assert rooms.min() > 8
    assert bool(world.before.present[:, -world.movers].all())


def test_a_field_in_degrees_is_refused():
    with pytest.raises(DataError, match="a field of 90 rad"):
        MovingObjectsSettings(height=72, width=96, field_of_view_rad=90)


def _carried(points: Tensor, world, number: int) -> Tensor:
    """Return where points (B, H, W, 3) of a solid are in the world after its motion."""
    before, after = world.before, world.after
    turn = after.world_from_solid[:, number] @ before.world_from_solid[:, number].mT
    local = points - before.centre_mm[:, number, None, None]
    return (turn[:, None, None] @ local[..., None])[..., 0] + after.centre_mm[:, number, None, None]
