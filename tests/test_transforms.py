"""Transforms keep the geometry of a view true, leave their input alone, and undo themselves."""

from math import pi

import pytest
import torch
from monai.transforms import Compose
from scenes import H, W, at, cameras, world_mirror
from torch.testing import assert_close

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.geometry import rigid_flow, unproject
from colondepth.motion import inverse, relative, transform
from colondepth.random_transforms import RandCropViewd, RandFlipViewd, RandRotateViewd
from colondepth.transforms import (
    UNDO_KEY,
    CropViewd,
    FlipViewd,
    ResizeViewd,
    RotateViewd,
    UndistortViewd,
)
from colondepth.views import MapKind, View, require_view
from synthetic_colons.analytic import Plane, Tube, look

TUBE = Tube(point_mm=(4, -3, 0), along=(0.1, 0.2, 1), radius_mm=22)
WALL = Plane(point_mm=(0, 0, 70), across=(0.2, -0.1, 1))
SCENE = [TUBE, WALL]
HERE, NEXT = at(1, 2, 3, yaw_rad=0.1), at(1.5, 1.2, 5, yaw_rad=0.14)
MAPS = ("image", "depth_mm", "normals", "flow_px", "valid")

TRANSFORMS = {
    "shrink": ResizeViewd(MAPS, (H, W)),
    "enlarge": ResizeViewd(MAPS, (5 * H, 4 * W)),
    "crop": CropViewd(MAPS, top=11, left=7, size=(61, 83)),
    "flip left and right": FlipViewd(MAPS, -1),
    "flip top and bottom": FlipViewd(MAPS, -2),
    "rotate": RotateViewd(MAPS, 0.4),
    "rotate back over": RotateViewd(MAPS, -2.5),
    "undistort": UndistortViewd(MAPS, 0.9, (70, 90)),
    "random crop": RandCropViewd(MAPS, (50, 60)).set_random_state(1),
    "random flip": RandFlipViewd(MAPS, 0.7).set_random_state(3),
    "random rotation": RandRotateViewd(MAPS, pi).set_random_state(2),
    "all of them": Compose(
        [
            ResizeViewd(MAPS, (100, 130)),
            RotateViewd(MAPS, 0.3),
            FlipViewd(MAPS, -1),
            CropViewd(MAPS, top=10, left=12, size=(70, 80)),
            UndistortViewd(MAPS, 0.7, (64, 72)),
        ]
    ),
}


def seen(camera: Camera) -> View:
    """A view of the scene with all of its ground truth, and the flow to the next camera."""
    view = look(SCENE, camera, HERE)
    flow, lands = rigid_flow(view.depth_mm, camera, relative(NEXT, HERE))
    return View(
        image=view.image,
        camera=camera,
        depth_mm=view.depth_mm,
        normals=view.normals,
        flow_px=flow,
        valid=lands,
        world_from_camera=HERE,
        frame_id="0000",
    )


def large(name: str) -> Camera:
    return cameras()[name].resized(3 * H, 3 * W)


@pytest.fixture(params=cameras())
def view(request) -> View:
    return seen(large(request.param))


@pytest.fixture(params=TRANSFORMS)
def change(request):
    return TRANSFORMS[request.param]


def test_every_depth_is_still_a_point_of_the_scene(view, change):
    new = change(view)
    wall_mm = _off_the_wall_mm(_world(new))[new["valid"][0]]
    assert new["valid"].float().mean() > 0.2
    # Depth is taken from the nearest pixel, so it may be half a pixel of slope off the wall.
    assert wall_mm.median() < 0.25


def test_every_normal_is_still_across_the_wall(view, change):
    new = change(view)
    valid = new["valid"][0]
    in_world = new["normals"].movedim(0, -1) @ _scene_from_camera(new)[:3, :3].mT
    cosine = (in_world * _wall_normal(_world(new))).sum(dim=-1).abs()[valid]
    assert cosine.median() > 0.999
    points = unproject(new["depth_mm"], new["camera"])
    facing = (new["normals"].movedim(0, -1) * points).sum(dim=-1)[valid]
    assert (facing < 0).float().mean() > 0.99


def test_the_flow_still_leads_to_where_the_next_camera_sees_the_point(view, change):
    new = change(view)
    # The next view was changed like this one, so its axes turned alike.
    motion = _turn(new) @ relative(NEXT, HERE) @ _turn(new).mT
    flow, lands = rigid_flow(new["depth_mm"], new["camera"], motion)
    agree = (lands & new["valid"])[0]
    wrong_px = (flow - new["flow_px"]).norm(dim=0)[agree]
    assert agree.float().mean() > 0.15
    assert wrong_px.median() < 0.05


def test_the_new_view_keeps_every_promise_of_a_view(view, change):
    new = change(view)
    assert new["frame_id"] == "0000"
    require_view(new)


def test_the_view_that_came_in_is_untouched(view, change):
    before = {
        name: value.clone() for name, value in view.items() if isinstance(value, torch.Tensor)
    }
    camera, names = view["camera"], set(view)
    change(view)
    assert set(view) == names
    assert view["camera"] is camera
    for name, value in before.items():
        assert torch.equal(view[name], value)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if "shrink" not in name])
def test_undoing_brings_camera_pose_and_what_was_kept_back(view, name):
    change = TRANSFORMS[name]
    back = change.inverse(change(view))
    assert UNDO_KEY not in back
    assert_close(back["camera"].rays(3 * H, 3 * W), view["camera"].rays(3 * H, 3 * W))
    assert_close(back["world_from_camera"], HERE)
    kept = back["valid"][0] & view["valid"][0]
    assert kept.float().mean() > 0.05
    close = ((back["depth_mm"] - view["depth_mm"]).abs() / view["depth_mm"].clamp(min=1))[0][kept]
    assert close.median() < 0.02
    flow = (back["flow_px"] - view["flow_px"]).norm(dim=0)[kept]
    assert flow.median() < 0.1


@pytest.mark.parametrize("axis", [-1, -2])
def test_flipping_twice_is_nothing_at_all(view, axis):
    twice = FlipViewd(MAPS, axis)(FlipViewd(MAPS, axis)(view))
    for name in MAPS:
        assert torch.equal(twice[name], view[name])
    assert_close(twice["world_from_camera"], HERE, atol=1e-15, rtol=0)


def test_a_flipped_camera_still_looks_right_and_down(view):
    flipped = FlipViewd(MAPS, -1)(view)["camera"]
    before = view["camera"].rays(3 * H, 3 * W)
    after = flipped.rays(3 * H, 3 * W)
    mirror = torch.tensor([-1.0, 1, 1], dtype=after.dtype)
    assert_close(after, before.flip(1) * mirror)
    assert (after[..., 1:, 0] > after[..., :-1, 0])[50].float().mean() > 0.95


def test_a_prediction_on_the_small_view_is_carried_back_to_the_large_one(view):
    keys = ["image", "depth_mm"]
    small = Compose(
        [
            ResizeViewd(keys, (H, W), allow_missing_keys=True),
            FlipViewd(keys, -1, allow_missing_keys=True),
        ]
    )
    new = small({"image": view["image"], "camera": view["camera"]})
    # What a perfect network would say of the small flipped view: its own scene's depth.
    new["depth_mm"] = small({"depth_mm": view["depth_mm"]})["depth_mm"]
    back = small.inverse(new)
    wrong = (back["depth_mm"] - view["depth_mm"]).abs() / view["depth_mm"].clamp(min=1)
    assert back["depth_mm"].shape == view["depth_mm"].shape
    assert wrong[view["valid"]].median() < 0.05


def test_a_map_that_would_be_left_behind_is_an_error(view):
    for change in (ResizeViewd(["image"], (H, W)), FlipViewd(["image"], -1)):
        with pytest.raises(DataError, match=r"leave .*depth_mm"):
            change(view)


def test_what_was_not_valid_stays_so(view):
    nothing = {**view, "valid": torch.zeros_like(view["valid"])}
    for change in (RotateViewd(MAPS, 0.3), UndistortViewd(MAPS, 0.9, (70, 90))):
        assert not change(nothing)["valid"].any()


def test_shrinking_takes_numbers_from_the_middle_of_each_block(view):
    # By 3, the middle of a block is its second row and column, for every kind that has no between.
    labels = torch.arange(9 * H * W).reshape(1, 3 * H, 3 * W)
    kinds = {"labels": MapKind.SCALAR}
    new = ResizeViewd([*MAPS, "labels"], (H, W), kinds=kinds)({**view, "labels": labels})
    assert torch.equal(new["labels"], labels[:, 1::3, 1::3])
    for name in ("depth_mm", "normals", "valid"):
        assert torch.equal(new[name], view[name][:, 1::3, 1::3])
    assert_close(new["flow_px"], view["flow_px"][:, 1::3, 1::3] / 3)


def test_shrinking_a_checkerboard_gives_grey_and_white_stays_white(view):
    v, u = torch.meshgrid(torch.arange(3 * H), torch.arange(3 * W), indexing="ij")
    board = ((u + v) % 2).float().expand(3, -1, -1)
    shrink = ResizeViewd(["image"], (H, W))
    grey = shrink({"image": board, "camera": view["camera"]})["image"]
    assert_close(grey, torch.full_like(grey, 0.5), atol=0.06, rtol=0)
    white = shrink({"image": torch.ones(3, 3 * H, 3 * W), "camera": view["camera"]})
    require_view(white)


def test_a_turn_leaves_the_middle_pixel_of_an_odd_frame_in_place():
    image = torch.zeros(3, 31, 41, dtype=torch.float64)
    image[:, 15, 20] = 1
    turned = RotateViewd(["image"], 0.7)({"image": image, "camera": Camera.assumed(31, 41)})
    assert turned["image"][0, 15, 20] == pytest.approx(1)


def test_random_crops_reach_every_corner_and_random_turns_both_ways():
    crop = RandCropViewd(MAPS, (106, 143)).set_random_state(0)
    assert {crop.draw((108, 144)) for _ in range(99)} == {
        (v, u) for v in range(3) for u in range(2)
    }
    turn = RandRotateViewd(MAPS, 0.5).set_random_state(0)
    drawn = [turn.draw() for _ in range(50)]
    assert min(drawn) < -0.3
    assert max(drawn) > 0.3


def test_the_same_seed_draws_the_same_and_another_does_not(view):
    for make in (
        lambda: RandCropViewd(MAPS, (50, 60)),
        lambda: RandRotateViewd(MAPS, pi),
        lambda: RandFlipViewd(MAPS, 0.5),
    ):

        def draws(seed, make=make):
            random = make().set_random_state(seed)
            size = (108, 144)
            return [random.draw(size) if isinstance(random, RandCropViewd) else random.draw()
                    for _ in range(6)]  # fmt: skip

        assert draws(1) == draws(1)
        assert draws(1) != draws(2)


def test_an_unknown_map_needs_its_kind():
    view = seen(large("fisheye")) | {"labels": torch.arange(9 * H * W).reshape(1, 3 * H, 3 * W)}
    with pytest.raises(DataError, match="labels"):
        FlipViewd([*MAPS, "labels"], -1)(view)
    flip = FlipViewd([*MAPS, "labels"], -1, kinds={"labels": MapKind.SCALAR})
    assert torch.equal(flip(view)["labels"], view["labels"].flip(-1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: ResizeViewd(["depth"], (H, W))(v), "lacks .'depth'."),
        (lambda v: ResizeViewd(MAPS, (0, W)), "1 or more"),
        (lambda v: CropViewd(MAPS, top=100, left=0, size=(H, W))(v), "leaves 'image'"),
        (lambda v: RandCropViewd(MAPS, (9 * H, W))(v), "does not fit"),
        (lambda v: FlipViewd(MAPS, 0), "axis is 0"),
        (lambda v: RandFlipViewd(MAPS, 1.5), "prob is 1.5"),
        (lambda v: FlipViewd(MAPS, -1).inverse(v), "last thing done to this view was nothing"),
        (lambda v: FlipViewd(MAPS, -1).inverse(RotateViewd(MAPS, 1)(v)), "was RotateViewd"),
        (
            lambda v: RotateViewd(MAPS, 1)({**v, "image": torch.zeros(3, 2, 2)}),
            "one size",
        ),
        (
            lambda v: UndistortViewd(["image"], 0.9, (8, 9))({"image": v["image"]}),
            "no camera",
        ),
    ],
)
def test_a_transform_that_cannot_says_why(make, message):
    with pytest.raises(DataError, match=message):
        make(seen(large("brown")))


def test_missing_keys_are_skipped_only_when_allowed():
    view = seen(large("pinhole"))
    del view["normals"]
    new = ResizeViewd(MAPS, (H, W), allow_missing_keys=True)(view)
    assert new["image"].shape[-2:] == (H, W)


def _turn(new: View) -> torch.Tensor:
    """From the old camera's axes to the new one's, (4, 4)."""
    pose = new["world_from_camera"]
    return inverse(pose) @ world_mirror(pose, HERE) @ HERE


def _scene_from_camera(new: View) -> torch.Tensor:
    """From a changed view's camera to the scene's own coordinates, (4, 4)."""
    return world_mirror(new["world_from_camera"], HERE) @ new["world_from_camera"]


def _world(new: View) -> torch.Tensor:
    """The scene's own coordinates of every pixel of a changed view, (H, W, 3)."""
    return transform(_scene_from_camera(new), unproject(new["depth_mm"], new["camera"]))


def _off_axis(world: torch.Tensor) -> torch.Tensor:
    along = world.new_tensor(TUBE.along) / world.new_tensor(TUBE.along).norm()
    towards = world - world.new_tensor(TUBE.point_mm)
    return towards - (towards * along).sum(dim=-1, keepdim=True) * along


def _off_the_wall_mm(world: torch.Tensor) -> torch.Tensor:
    across = world.new_tensor(WALL.across) / world.new_tensor(WALL.across).norm()
    height = ((world - world.new_tensor(WALL.point_mm)) * across).sum(dim=-1)
    return torch.minimum((_off_axis(world).norm(dim=-1) - TUBE.radius_mm).abs(), height.abs())


def _wall_normal(world: torch.Tensor) -> torch.Tensor:
    on_tube = (_off_axis(world).norm(dim=-1) - TUBE.radius_mm).abs() < 0.5
    return torch.where(on_tube[..., None], TUBE.normal(world), WALL.normal(world))
