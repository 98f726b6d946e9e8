"""Augmentation: geometry stays true, photometry touches the image alone, draws can be replayed."""

from dataclasses import replace

import pytest
import tiny_training
import torch
from scenes import at, cameras
from torch.testing import assert_close

from colondepth.cameras import stack
from colondepth.geometry import depth_from_distance, unproject
from curriculum.augmentation import augment, draw_augmentation
from curriculum.stages import Augmentation

ALL = Augmentation(
    gain=0.5,
    gamma=0.3,
    white_balance=0.2,
    hue_rad=0.3,
    saturation=0.4,
    noise=0.05,
    blur_px=1.5,
    grey_share=0.3,
    flip_across=True,
    flip_down=True,
    quarter_turns=True,
)
NOTHING = draw_augmentation(torch.Generator(), 2, Augmentation())


def dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_through(lens: str):
    """Two views with everything that turns, through a lens of which nothing is symmetric."""
    camera = cameras()[lens]
    camera = stack([camera, replace(camera, centre=camera.centre + 0.7)])
    height, width = camera.height, camera.width
    generator = dice(1)
    distance_mm = 10 + 50 * torch.rand(2, 1, height, width, generator=generator).double()
    normals = torch.randn(2, 3, height, width, generator=generator).double()
    return {
        "image": torch.rand(2, 3, height, width, generator=generator),
        "camera": camera,
        "distance_mm": distance_mm,
        "depth_mm": depth_from_distance(distance_mm, camera),
        "normals": normals / normals.norm(dim=1, keepdim=True),
        "valid": torch.rand(2, 1, height, width, generator=generator) > 0.2,
        "label": torch.randint(9, (2, 1, height, width), generator=generator),
        "world_from_camera": torch.stack([at(1, 2, 3, yaw_rad=0.3), at(4, -1, 2)]),
    }


MOVES = [
    (across, down, turns)
    for across in (False, True)
    for down in (False, True)
    for turns in range(4)
]


def moved_plane(across: bool, down: bool, turns: int) -> torch.Tensor:
    """Return the (2, 2) that camera x and y go through, told without the code under test."""
    plane = torch.diag(torch.tensor([-1.0 if across else 1.0, -1.0 if down else 1.0]))
    quarter = torch.tensor([[0.0, -1], [1, 0]])  # right goes to down: clockwise on the screen
    return (torch.linalg.matrix_power(quarter, turns) @ plane).double()


@pytest.mark.parametrize("lens", ["brown", "fisheye", "omnidirectional"])
@pytest.mark.parametrize(("across", "down", "turns"), MOVES)
def test_a_moved_batch_shows_the_same_points_seen_by_a_moved_camera(lens, across, down, turns):
    old = batch_through(lens)
    draw = replace(NOTHING, flip_across=across, flip_down=down, quarter_turns=turns)
    new = augment(old, draw)
    plane = moved_plane(across, down, turns)
    whole = torch.block_diag(plane, torch.eye(1, dtype=torch.float64))

    def carried(field: torch.Tensor) -> torch.Tensor:  # (B, H, W, C), to the new places
        field = field.flip(2) if across else field
        field = field.flip(1) if down else field
        return field.rot90(-turns, dims=(1, 2))

    points = unproject(new["depth_mm"], new["camera"])
    before = unproject(old["depth_mm"], old["camera"])
    assert_close(points, carried(before @ whole.T), atol=1e-6, rtol=1e-9)
    normals = carried(old["normals"].permute(0, 2, 3, 1) @ whole.T).permute(0, 3, 1, 2)
    assert_close(new["normals"], normals)
    for name in ("image", "valid", "label", "distance_mm"):
        expected = carried(old[name].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert torch.equal(new[name], expected), name


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_camera_sees_the_world_where_it_was(turns):
    old = batch_through("brown")
    new = augment(old, replace(NOTHING, quarter_turns=turns))

    def world(batch):
        points = unproject(batch["depth_mm"], batch["camera"])
        pose = batch["world_from_camera"][:, None, None]
        return (pose[..., :3, :3] @ points[..., None])[..., 0] + pose[..., :3, 3]

    assert_close(world(new), world(old).rot90(-turns, dims=(1, 2)), atol=1e-6, rtol=1e-9)


def test_a_draw_is_replayed_and_leaves_the_batch_as_it_was():
    old = batch_through("brown")
    before = {name: value.clone() for name, value in old.items() if name != "camera"}
    once = augment(old, draw_augmentation(dice(4), 2, ALL))
    again = augment(old, draw_augmentation(dice(4), 2, ALL))
    other = augment(old, draw_augmentation(dice(5), 2, ALL))
    assert torch.equal(once["image"], again["image"])
    assert once["image"].shape != other["image"].shape or not torch.equal(
        once["image"], other["image"]
    )
    assert all(torch.equal(old[name], value) for name, value in before.items())


def test_photometry_touches_the_image_alone_and_stays_in_range():
    old = batch_through("brown")
    settings = replace(ALL, flip_across=False, flip_down=False, quarter_turns=False)
    new = augment(old, draw_augmentation(dice(1), 2, settings))
    assert not torch.equal(new["image"], old["image"])
    assert 0 <= new["image"].min() <= new["image"].max() <= 1
    assert all(new[name] is old[name] for name in old if name != "image")


def test_switching_one_thing_off_leaves_the_others_as_drawn():
    for seed in range(5):
        whole = draw_augmentation(dice(seed), 3, ALL)
        less = draw_augmentation(dice(seed), 3, replace(ALL, gamma=0, flip_down=False))
        assert less.gamma is None
        assert torch.equal(whole.colour, less.colour)
        assert torch.equal(whole.noise, less.noise)
        assert whole.quarter_turns == less.quarter_turns
        assert whole.flip_across == less.flip_across


def test_with_everything_off_an_image_is_the_same():
    old = tiny_training.tubes(1)
    assert torch.equal(augment(old, NOTHING)["image"], old["image"])


def test_hue_and_saturation_keep_grey_grey():
    grey = torch.rand(2, 1, 6, 7, generator=dice(1)).expand(2, 3, 6, 7) * 0.9
    draw = draw_augmentation(dice(2), 2, Augmentation(hue_rad=1.0, saturation=0.9))
    assert_close(augment({"image": grey}, draw)["image"], grey)


def test_a_turn_of_hue_by_a_third_exchanges_the_channels():
    image = torch.rand(1, 3, 5, 6, generator=dice(1))
    draw = draw_augmentation(dice(1), 1, Augmentation(hue_rad=1.0))
    from curriculum.augmentation import _hue_matrix

    third = _hue_matrix(torch.tensor([2 * torch.pi / 3]), torch.ones(1))
    turned = augment({"image": image}, replace(draw, colour=third))["image"]
    assert_close(turned, image[:, [2, 0, 1]], atol=1e-6, rtol=0)


def test_views_that_lose_their_colour_keep_their_luma():
    image = torch.rand(2, 3, 5, 6, generator=dice(1))
    draw = draw_augmentation(dice(1), 2, Augmentation(grey_share=1.0))
    grey = augment({"image": image}, draw)["image"]
    luma = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)
    assert_close(grey, luma.expand(2, 3, 5, 6))


def test_noise_has_the_drawn_spread():
    flat = torch.full((2, 3, 64, 80), 0.5)
    draw = replace(NOTHING, noise=torch.tensor([0.01, 0.05]), noise_seed=7)
    spread = augment({"image": flat}, draw)["image"].std(dim=(1, 2, 3))
    assert_close(spread, torch.tensor([0.01, 0.05]), rtol=0.03, atol=0)


def test_blur_has_the_drawn_width_in_each_view():
    image = torch.zeros(2, 3, 21, 23)
    image[:, :, 10, 11] = 1
    draw = replace(NOTHING, blur_px=torch.tensor([0.6, 0.9]))
    spot = augment({"image": image}, draw)["image"][:, 1]  # (B, H, W)
    v = torch.arange(21.0) - 10
    u = torch.arange(23.0) - 11
    assert_close(spot.sum(dim=(1, 2)), torch.ones(2))
    for mean_square in (
        (spot.sum(dim=2) * v.square()).sum(dim=1),
        (spot.sum(dim=1) * u.square()).sum(dim=1),
    ):
        assert_close(mean_square.sqrt(), torch.tensor([0.6, 0.9]), rtol=0.02, atol=0)
