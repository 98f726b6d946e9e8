"""Images of any size through a network: rays, planes, edges, flow, and frames that show nothing."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from scenes import CX, CY, FX, FY, H, W, cameras
from torch.testing import assert_close

from colondepth.backbones.contract import Backbone, Needs, SizeRule
from colondepth.backbones.fitting import predict_fitted
from colondepth.cameras import Camera, pixel_grid
from colondepth.errors import DataError, ShapeError
from colondepth.geometry import normals_from_depth
from colondepth.views import Prediction

SEEN = (64, 40)  # a size that stretches the scenes' 36x48 up and shrinks them across
PLANE = torch.tensor([0.3, -0.2, 1.0])
OFFSET_MM = 40.0


class Stub(Backbone):
    """A network that says what it is told to, and remembers what it was shown."""

    def __init__(self, answer, *, sizes=SizeRule(exact=SEEN), needs=Needs.IMAGE) -> None:  # noqa: B008
        super().__init__()
        self.answer, self.sizes, self.needs = answer, sizes, needs
        self.shown: Mapping[str, Any] = {}

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        self.shown = batch
        return self.answer(batch)


def plane_mm(camera: Camera) -> torch.Tensor:
    """Return the z-depth of a slanted plane along the rays of a camera, (B, 1, H, W)."""
    rays = camera.rays(camera.height, camera.width)
    depth = OFFSET_MM * rays[..., 2] / (rays * PLANE.to(rays)).sum(dim=-1)
    return depth[..., None, :, :].float()


def sees_a_plane(batch: Mapping[str, Any]) -> Prediction:
    return Prediction(depth_mm=plane_mm(batch["camera"]))


def says(**parts):
    """Return an answer of fixed maps."""
    return lambda batch: Prediction(
        **({"depth_mm": torch.full((2, 1, *SEEN), 20.0)} | {k: v.clone() for k, v in parts.items()})
    )


def frames(camera: Camera | None = None, **more) -> dict[str, Any]:
    image = torch.rand(2, 3, H, W, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1
    focal = torch.tensor([FX, FX + 4])
    pinhole = Camera.pinhole(fx=focal, fy=focal + FY - FX, cx=CX, cy=CY, height=H, width=W)
    return {"image": image, "camera": camera or pinhole, **more}


def test_a_plane_comes_back_as_itself_with_its_normals_through_the_camera_that_moved():
    batch = frames()
    for seen in (SEEN, (90, 120), (20, 28)):
        said = predict_fitted(Stub(sees_a_plane, sizes=SizeRule(exact=seen)), batch)
        inner = (..., slice(2, -2), slice(2, -2))  # beyond the network's outer pixels it is flat
        assert_close(said.depth_mm[inner], plane_mm(batch["camera"])[inner], rtol=1e-5, atol=0)
        normals = normals_from_depth(said.depth_mm, batch["camera"])[..., 3:-3, 3:-3]
        expected = -PLANE / PLANE.norm()
        assert_close(normals, expected[:, None, None].expand_as(normals), rtol=0, atol=1e-3)


def test_a_network_sees_its_own_size_and_the_camera_of_that_size_and_no_truth():
    depth_mm = torch.full((2, 1, H, W), 20.0)
    batch = frames(depth_mm=depth_mm, frame_id=["a", "b"], cues=torch.rand(2, 2, H, W))
    network = Stub(sees_a_plane)
    before = batch["image"].clone()
    predict_fitted(network, batch)
    assert network.shown["image"].shape == (2, 3, *SEEN)
    assert network.shown["cues"].shape == (2, 2, *SEEN)
    shown = network.shown["camera"]
    # A corner of the image stays a corner: pixel -0.5 is -0.5 at every size.
    ends = torch.tensor([[-0.5, -0.5], [SEEN[1] - 0.5, SEEN[0] - 0.5]]).expand(2, 2, 2)
    ours = torch.tensor([[-0.5, -0.5], [W - 0.5, H - 0.5]]).expand(2, 2, 2)
    assert_close(shown.rays_at(ends), batch["camera"].rays_at(ours))
    assert network.shown.keys() == {"image", "camera", "cues", "frame_id"}
    assert torch.equal(batch["image"], before)


def test_an_image_that_fits_passes_untouched():
    network = Stub(sees_a_plane, sizes=SizeRule(multiple=4))
    batch = frames()
    said = predict_fitted(network, batch)
    assert torch.equal(network.shown["image"], batch["image"])
    assert_close(said.depth_mm, plane_mm(batch["camera"]), rtol=0, atol=0)
    assert said.valid.all()


def test_an_image_larger_than_a_network_ever_saw_is_shrunk_in_its_own_shape():
    network = Stub(sees_a_plane, sizes=SizeRule(longest=W // 2))
    batch = frames()
    said = predict_fitted(network, batch)
    assert network.shown["image"].shape[-2:] == (round(H * (W // 2) / W), W // 2)
    inner = (..., slice(2, -2), slice(2, -2))
    assert_close(said.depth_mm[inner], plane_mm(batch["camera"])[inner], rtol=1e-5, atol=0)
    assert SizeRule(longest=W).nearest(H, W) == (H, W)
    SizeRule(longest=W // 2).require("it", H, W)  # it may be trained on larger ones


def test_no_depth_appears_between_two_walls_or_beside_the_unknown():
    walls = torch.full((2, 1, *SEEN), 20.0)
    walls[..., 17:] = 60
    walls[..., 30:] = 0
    said = predict_fitted(Stub(says(depth_mm=walls)), frames()).depth_mm
    assert {round(value, 3) for value in said.unique().tolist()} == {0, 20, 60}
    edge = (said[0, 0, 0] == said[0, 0, 0, 0]).sum().item()
    assert edge == round(17 * W / SEEN[1])
    assert (said[0, 0, 0] > 0).sum().item() == round(30 * W / SEEN[1])


def test_flow_and_disparity_are_in_the_images_own_pixels():
    # Everything moves towards (0.2 W, 0.7 H) by a tenth of the way.
    def flow(height: int, width: int) -> torch.Tensor:
        goal = torch.tensor([0.2 * width - 0.5, 0.7 * height - 0.5])
        return (0.1 * (goal - pixel_grid(height, width, like=goal))).movedim(-1, 0)[None]

    maps = {
        "flow_px": flow(*SEEN).expand(2, -1, -1, -1),
        "disparity_px": torch.full((2, 1, *SEEN), 5.0),
        "log_depth_std": torch.full((2, 1, *SEEN), 0.25),
    }
    said = predict_fitted(Stub(says(**maps)), frames())
    inner = (..., slice(2, -2), slice(2, -2))
    assert_close(said.flow_px[inner], flow(H, W).expand(2, -1, -1, -1)[inner], rtol=0, atol=1e-5)
    assert_close(said.disparity_px, torch.full((2, 1, H, W), 5.0 * W / SEEN[1]))
    assert_close(said.log_depth_std, torch.full((2, 1, H, W), 0.25))


def test_what_is_not_on_the_images_pixels_stays_as_the_network_gave_it():
    maps = {"label_logits": torch.rand(2, 8, 8, 5), "target_from_source": torch.rand(2, 4, 4)}
    said = predict_fitted(Stub(says(**maps)), frames())
    for name, value in maps.items():
        assert torch.equal(getattr(said, name), value)


def test_valid_follows_its_pixels():
    valid = torch.zeros(2, 1, *SEEN, dtype=torch.bool)
    valid[0, :, :32, :20] = True
    said = predict_fitted(Stub(says(valid=valid)), frames()).valid
    expected = torch.zeros(2, 1, H, W, dtype=torch.bool)
    expected[0, :, : H // 2, : W // 2] = True
    assert torch.equal(said, expected)


def test_pixels_whose_ray_does_not_look_forward_are_not_valid():
    camera = Camera.fisheye(fx=10, fy=10, cx=W / 2, cy=H / 2, height=H, width=W)
    said = predict_fitted(Stub(says()), frames(camera))
    ahead = camera.rays(H, W)[..., 2] > 0
    assert 0 < ahead.sum() < H * W
    assert torch.equal(said.valid, ahead.expand(2, 1, H, W))


def test_black_and_damaged_frames_are_marked_and_the_others_are_not():
    batch = frames()
    batch["image"][0] = 3 / 255
    batch["image"][1, 2, 5, 7] = torch.inf
    network = Stub(sees_a_plane)
    said = predict_fitted(network, batch)
    assert not said.valid[0].any()
    assert said.valid[1].sum() == H * W - 1
    assert not said.valid[1, 0, 5, 7]
    assert network.shown["image"].isfinite().all()


def test_a_damaged_partner_makes_its_own_frame_invalid():
    previous = frames()["image"]
    previous[1, 0, 3, 4] = torch.nan
    said = predict_fitted(Stub(sees_a_plane, needs=Needs.PREVIOUS), frames(previous=previous))
    assert said.valid[0].all()
    assert not said.valid[1].any()


def test_gradients_pass_through_the_sizes_and_past_the_unknown():
    depth_mm = torch.full((2, 1, *SEEN), 20.0)
    depth_mm[..., :9, :] = 0
    depth_mm.requires_grad_()
    network = Stub(lambda batch: Prediction(depth_mm=depth_mm * 1))
    said = predict_fitted(network, frames())
    (gradient,) = torch.autograd.grad(said.depth_mm.sum(), depth_mm)
    assert gradient.isfinite().all()
    assert (gradient[..., 9:, :] > 0).any()


@pytest.mark.parametrize(
    ("needs", "changes", "error", "message"),
    [
        (Needs.IMAGE, {"camera": None}, DataError, "camera is a NoneType"),
        (Needs.IMAGE, {"camera": cameras()["fisheye"].resized(H, W + 1)}, ShapeError, "follows a"),
        (Needs.IMAGE, {"image": torch.rand(2, 3, 1, 1)}, ShapeError, "8x8 pixels or more"),
        (Needs.IMAGE, {"image": torch.rand(0, 3, H, W)}, ShapeError, "pixels or more"),
        (Needs.IMAGE, {"image": torch.rand(3, H, W)}, ShapeError, "expected .B 3 H W."),
        (Needs.IMAGE, {"image": torch.full((2, 3, H, W), 200.0)}, DataError, "divide 8 bits"),
        (Needs.IMAGE, {"image": torch.ones(2, 3, H, W).byte()}, DataError, "uint8"),
        (Needs.PREVIOUS, {}, DataError, r"Stub needs image, camera, previous; .* \['previous'\]"),
        (Needs.PREVIOUS, {"previous": torch.rand(2, 3, H, W + 1)}, ShapeError, "previous has"),
        (Needs.MOTION, {"previous": torch.rand(2, 3, H, W)}, DataError, "previous_from_current'"),
        (Needs.RIGHT, {}, DataError, r"lacks \['right'\]"),
    ],
)
def test_a_batch_that_will_not_do_is_told_why(needs, changes, error, message):
    with pytest.raises(error, match=message):
        predict_fitted(Stub(sees_a_plane, needs=needs), frames() | changes)
