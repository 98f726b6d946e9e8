"""Any albumentations pipeline, and the geometry is still true."""

import os

import pytest
import torch
from monai.transforms import Compose
from scenes import H, W, at, cameras, world_mirror
from torch.testing import assert_close

from colondepth.albumentations_view import Albumentationsd
from colondepth.errors import DataError
from colondepth.geometry import unproject
from colondepth.motion import inverse, transform
from colondepth.views import MapKind, View, require_view
from synthetic_colons.analytic import Tube, look

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A  # noqa: N812 - the check for updates must be off before

TUBE = Tube(point_mm=(4, -3, 0), along=(0.1, 0.2, 1), radius_mm=22)
HERE = at(1, 2, 3, yaw_rad=0.1)
KEYS = ("image", "depth_mm", "normals", "valid")
MOVES = {
    "mirror": A.HorizontalFlip(p=1),
    "upside down": A.VerticalFlip(p=1),
    "quarter turn": A.RandomRotate90(p=1),
    "transpose": A.Transpose(p=1),
    "affine": A.Affine(rotate=25, scale=1.2, translate_percent=0.05, shear=8, p=1),
    "turn": A.Rotate(limit=(30, 40), p=1),
    "shrink": A.Resize(H, W, p=1),
    "uneven": A.Resize(70, 200, p=1),
    "crop and resize": A.RandomResizedCrop((60, 90), scale=(0.3, 0.6), p=1),
    "pad": A.PadIfNeeded(150, 200, p=1),
    "list": [A.HorizontalFlip(p=1), A.RandomBrightnessContrast(p=1), A.RandomCrop(80, 90, p=1)],
}
COLOURS = [
    A.RandomBrightnessContrast(p=1),
    A.HueSaturationValue(p=1),
    A.GaussNoise(p=1),
    A.ImageCompression(quality_range=(30, 60), p=1),
    A.MotionBlur(p=1),
]


@pytest.fixture(params=["pinhole", "omnidirectional"])
def view(request) -> View:
    camera = cameras()[request.param].resized(3 * H, 3 * W)
    seen = look([TUBE], camera, HERE)
    return View(
        image=seen.image.float(),
        camera=camera,
        depth_mm=seen.depth_mm,
        normals=seen.normals,
        valid=seen.depth_mm > 0,
        world_from_camera=HERE,
    )


@pytest.mark.parametrize("name", MOVES)
def test_depth_and_normals_still_lie_on_the_tube(view, name):
    new = Albumentationsd(KEYS, MOVES[name]).set_random_state(1)(view)
    require_view(new)
    valid = new["valid"][0]
    old_from_camera = world_mirror(new["world_from_camera"], HERE) @ new["world_from_camera"]
    world = transform(old_from_camera, unproject(new["depth_mm"], new["camera"]))
    radial = TUBE.normal(world)
    assert valid.float().mean() > 0.2
    assert (radial.norm(dim=-1)[valid] * 22 - 22).abs().median() < 0.25
    normals = new["normals"].movedim(0, -1) @ old_from_camera[:3, :3].mT
    cosine = (normals * radial).sum(dim=-1)[valid]
    assert cosine.abs().median() > 0.998  # pixels that a crop enlarged share one normal


@pytest.mark.parametrize("name", [name for name in MOVES if name != "list"])
def test_the_image_shows_what_the_moved_camera_sees(view, name):
    new = Albumentationsd(KEYS, MOVES[name]).set_random_state(1)(view)
    # The same camera in the scene's own axes: turned back, it must see this image at HERE.
    mirror = world_mirror(new["world_from_camera"], HERE)
    turn = (inverse(new["world_from_camera"]) @ mirror @ HERE)[:2, :2]
    truth = look([TUBE], new["camera"].turned(turn.mT), HERE).image.float()
    valid = new["valid"].expand(3, -1, -1)
    # `look` chooses its exposure by what is in the frame, so brightness may differ by one factor.
    linear, true_linear = new["image"][valid] ** 2.2, truth[valid] ** 2.2
    unclipped = (linear < 0.9) & (true_linear < 0.9)
    gain = (linear[unclipped] / true_linear[unclipped].clamp(min=1e-3)).median()
    wrong = (linear - gain * true_linear).abs()[unclipped]
    assert wrong.median() < 0.01


@pytest.mark.parametrize("step", COLOURS, ids=lambda step: type(step).__name__)
def test_colours_change_the_image_and_nothing_else(view, step):
    new = Albumentationsd(KEYS, step).set_random_state(0)(view)
    assert not torch.equal(new["image"], view["image"])
    assert new["camera"] is view["camera"]
    for name in ("depth_mm", "normals", "valid"):
        assert new[name] is view[name]
    require_view(new)


def test_the_view_that_came_in_is_untouched(view):
    before = {name: view[name].clone() for name in KEYS}
    Albumentationsd(KEYS, A.Affine(rotate=25, p=1)).set_random_state(1)(view)
    for name in KEYS:
        assert torch.equal(view[name], before[name])


def test_shrinking_takes_depth_from_the_middle_of_the_block(view):
    # albumentations alone resizes a mask by its blocks' corners, half a pixel off.
    new = Albumentationsd(KEYS, A.Resize(H, W, p=1))(view)
    assert_close(new["depth_mm"], view["depth_mm"][:, 1::3, 1::3])


def test_the_same_seed_draws_the_same(view):
    pipeline = A.Affine(rotate=(-90, 90), p=1)
    first, again, other = (
        Albumentationsd(KEYS, pipeline).set_random_state(seed)(view)["image"] for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_enlarging_is_no_bend(view):
    for height, width in ((5 * H, 5 * W), (173, 231)):
        new = Albumentationsd(KEYS, A.Resize(height, width, p=1))(view)
        expected = view["camera"].resized(height, width).rays(height, width)
        assert_close(new["camera"].rays(height, width), expected, atol=1e-6, rtol=0)
    crop = Albumentationsd(KEYS, A.RandomResizedCrop((3 * H, 3 * W), p=1)).set_random_state(0)
    for _ in range(10):
        crop(view)


def test_flow_is_stretched_as_the_image_is(view):
    flow = torch.ones(2, 3 * H, 3 * W) * torch.tensor([4.0, -2]).reshape(2, 1, 1)
    pipeline = A.Affine(scale=1.5, p=1)
    new = Albumentationsd((*KEYS, "flow_px"), pipeline)({**view, "flow_px": flow})
    inside = new["flow_px"][:, new["valid"][0]]
    assert_close(inside, torch.tensor([[6.0], [-3]]).expand_as(inside), atol=1e-3, rtol=0)


def test_a_map_that_would_be_left_behind_is_an_error(view):
    with pytest.raises(DataError, match=r"leave .*depth_mm"):
        Albumentationsd(["image"], A.HorizontalFlip(p=1))(view)
    Albumentationsd(["image"], A.RandomBrightnessContrast(p=1))(view)


def test_monais_determinism_governs_the_draws(view):
    def drawn(seed: int) -> torch.Tensor:
        pipeline = Compose([Albumentationsd(KEYS, A.Affine(rotate=(-90, 90), p=1))])
        return pipeline.set_random_state(seed)(view)["image"]

    assert torch.equal(drawn(4), drawn(4))
    assert not torch.equal(drawn(4), drawn(5))


def test_two_images_of_one_view_get_one_draw(view):
    both = {"image": view["image"], "left": view["image"].clone()}
    kinds = {"left": MapKind.IMAGE}
    pipeline = A.Compose([A.Affine(rotate=(-90, 90), p=1), A.RandomBrightnessContrast(p=1)])
    new = Albumentationsd(("image", "left"), pipeline, kinds=kinds).set_random_state(2)(both)
    assert torch.equal(new["image"], new["left"])


def test_a_bend_is_refused_where_a_camera_would_have_to_follow(view):
    bend = A.ElasticTransform(alpha=40, sigma=6, p=1)
    with pytest.raises(DataError, match="bends the image by"):
        Albumentationsd(KEYS, bend).set_random_state(0)(view)
    alone = Albumentationsd(["image"], bend).set_random_state(0)({"image": view["image"]})
    assert alone["image"].shape == view["image"].shape


def test_without_an_image_or_with_one_missing_it_says_so(view):
    with pytest.raises(DataError, match="needs an image"):
        Albumentationsd(["depth_mm"], A.HorizontalFlip(p=1))
    with pytest.raises(DataError, match="lacks"):
        Albumentationsd(KEYS, A.HorizontalFlip(p=1))({"camera": view["camera"]})
