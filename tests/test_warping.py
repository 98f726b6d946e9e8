"""The one lookup, the one warp, and what they know about occlusion."""

import pytest
import torch
from scenes import H, W, at, cameras
from torch.nn.functional import grid_sample
from torch.testing import assert_close

from colondepth.cameras import Camera, pixel_grid
from colondepth.errors import DataError, ShapeError
from colondepth.geometry import reproject, rigid_flow, unproject
from colondepth.motion import relative, se3_exp, transform
from colondepth.warping import Lookup, occlusion_by_depth, occlusion_by_flow, sample, warp
from synthetic_colons.analytic import Plane, Sphere, look

WALL = Plane(point_mm=(0, 0, 60), across=(0.1, -0.1, 1))
BALL = Sphere(centre_mm=(3, -2, 40), radius_mm=9)
THERE = at(5, -3, 4, yaw_rad=-0.08)


@pytest.fixture(params=cameras())
def camera(request) -> Camera:
    return cameras()[request.param].resized(3 * H, 3 * W)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_identity_lookup_returns_the_image_at_any_size():
    for height, width in ((H, W), (240, 321), (1080, 1350)):
        image = noise(2, 3, height, width)
        grid = pixel_grid(height, width, like=image).expand(2, -1, -1, -1)
        for lookup in Lookup:
            found, inside = sample(image, grid, lookup=lookup)
            assert inside.all()
            assert_close(found, image, atol=1e-6, rtol=0)


def test_the_identity_warp_returns_the_image(camera):
    view = look([WALL, BALL], camera, at(0, 0, 0))
    image, lands = warp(view.image, view.depth_mm, camera, at(0, 0, 0))
    assert lands[0].float().mean() > 0.8
    assert (image - view.image)[lands.expand_as(image)].abs().max() < 1e-6


def test_a_bilinear_lookup_agrees_with_grid_sample_inside_and_out():
    image = noise(2, 3, H, W).double()
    pixels = (noise(2, 7, 9, 2, seed=1).double() * 1.4 - 0.2) * torch.tensor([W, H])
    found, inside = sample(image, pixels, lookup=Lookup.BILINEAR)
    grid = (2 * pixels + 1) / torch.tensor([W, H]) - 1
    theirs = grid_sample(image, grid, padding_mode="border", align_corners=False)
    assert 0.3 < inside.double().mean() < 0.9
    assert_close(found, theirs * inside, atol=1e-12, rtol=0)


def test_a_ramp_is_read_off_exactly_between_pixels():
    grid = pixel_grid(H, W, like=torch.zeros((), dtype=torch.float64))
    ramp = (3 * grid[..., 0] - 2 * grid[..., 1] + 5)[None]
    pixels = grid[2:-2, 2:-2] + torch.tensor([0.3, -0.7], dtype=torch.float64)
    found, _ = sample(ramp, pixels, lookup=Lookup.BILINEAR)
    assert_close(found[0], 3 * pixels[..., 0] - 2 * pixels[..., 1] + 5)


def test_a_nearest_lookup_invents_no_value_and_takes_any_type():
    labels = torch.randint(0, 9, (2, 1, H, W), generator=torch.Generator().manual_seed(3))
    pixels = pixel_grid(H, W, like=torch.zeros(())) + torch.tensor([0.4, -0.4])
    found, inside = sample(labels, pixels.expand(2, -1, -1, -1), lookup=Lookup.NEAREST)
    assert inside.all()
    assert torch.equal(found, labels)
    mask, _ = sample(labels > 4, pixels.expand(2, -1, -1, -1), lookup=Lookup.NEAREST)
    assert mask.dtype == torch.bool


def test_the_image_ends_half_a_pixel_beyond_its_outer_centres():
    image = noise(1, 1, H, W)
    edges = torch.tensor([[[-0.5, 0], [-0.51, 0], [W - 0.5, H - 0.5], [W - 0.49, 3],
                           [torch.nan, 2]]])  # fmt: skip
    found, inside = sample(image, edges[None], lookup=Lookup.BILINEAR)
    assert inside[0, 0, 0].tolist() == [True, False, True, False, False]
    assert found[0, 0, 0, 0] == image[0, 0, 0, 0]
    assert found[0, 0, 0, 1] == found[0, 0, 0, 4] == 0


def test_a_lookup_is_differentiable_in_image_and_pixels():
    image = noise(2, 2, 5, 6).double().requires_grad_()
    pixels = (noise(2, 3, 4, 2, seed=2).double() * 3 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda i, p: sample(i, p, lookup=Lookup.BILINEAR)[0], (image, pixels)
    )


def test_a_warp_is_differentiable_in_depth_motion_and_image():
    camera = cameras()["fisheye"].resized(5, 6)
    depth_mm = look([WALL], camera, at(0, 0, 0)).depth_mm[None].requires_grad_()
    twist = torch.tensor([[0.01, -0.02, 0.01, 0.31, -0.2, 0.5]], dtype=torch.float64)
    twist.requires_grad_()
    image = noise(1, 2, 5, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda i, d, t: warp(i, d, camera, se3_exp(t))[0], (image, depth_mm, twist)
    )


def test_a_sphere_seen_from_two_places_warps_onto_itself(camera):
    # The target shows, as colours, the place in the world that each of its pixels sees; warped, it
    # must show the source's own places, and the miss is measured in source pixels.
    here = at(0, 0, 0)
    ball = Sphere(centre_mm=(3, -2, 40), radius_mm=60)
    there = at(3, -2, 2, yaw_rad=-0.05)
    source, target = look([ball], camera, here), look([ball], camera, there)
    places = transform(there, unproject(target.depth_mm, camera)).movedim(-1, -3)
    found, lands = warp(places, source.depth_mm, camera, relative(there, here))
    pixels, in_front = camera.project(found.movedim(-3, -1))
    hidden = occlusion_by_depth(
        source.depth_mm, target.depth_mm, camera, relative(there, here), tolerance=1e-3
    )
    rays = camera.rays(camera.height, camera.width)
    landed, _, _ = reproject(source.depth_mm, camera, relative(there, here))
    outer = landed.new_tensor([camera.width - 1, camera.height - 1])
    whole = ((landed > 0) & (landed < outer)).all(dim=-1)  # between four pixel centres
    clear = (lands & ~hidden)[0] & in_front & (rays[..., 2] > 0.2) & whole
    miss_px = (pixels - pixel_grid(camera.height, camera.width, like=pixels)).norm(dim=-1)[clear]
    assert clear.float().mean() > 0.5
    assert miss_px.max() < 0.02


def test_a_warped_picture_looks_like_the_source_where_nothing_hides_it(camera):
    here = at(0, 0, 0)
    source, target = look([WALL, BALL], camera, here), look([WALL, BALL], camera, THERE)
    motion = relative(THERE, here)
    places = transform(THERE, unproject(target.depth_mm, camera)).movedim(-1, -3)
    found, lands = warp(places, source.depth_mm, camera, motion)
    truth = transform(here, unproject(source.depth_mm, camera)).movedim(-1, -3)
    wrong_mm = (found - truth).norm(dim=0)
    hidden = occlusion_by_depth(source.depth_mm, target.depth_mm, camera, motion)
    ahead = camera.rays(camera.height, camera.width)[..., 2] > 0.3
    clear = (lands & ~hidden)[0] & ahead
    assert 0.01 < (hidden & lands).float().mean() < 0.3
    # What stays wrong is the ball's own outline, a pixel wide.
    assert (wrong_mm[clear] > 2).float().mean() < 0.02
    assert (wrong_mm[(lands & hidden)[0]] > 2).float().mean() > 0.5


def test_occlusion_is_what_the_ray_towards_the_other_camera_meets_first(camera):
    here = at(0, 0, 0)
    source, target = look([WALL, BALL], camera, here), look([WALL, BALL], camera, THERE)
    motion = relative(THERE, here)
    flow, lands = rigid_flow(source.depth_mm, camera, motion)
    back, _ = rigid_flow(target.depth_mm, camera, relative(here, THERE))
    points = unproject(source.depth_mm, camera)
    towards = points - THERE[:3, 3]
    length_mm = towards.norm(dim=-1)
    origin = THERE[:3, 3].expand_as(towards)
    first_mm = torch.stack(
        [shape.distance_mm(origin, towards / length_mm[..., None]) for shape in (WALL, BALL)]
    ).amin(dim=0)
    truth = (first_mm < length_mm * 0.999) & lands[0]
    by_depth = occlusion_by_depth(source.depth_mm, target.depth_mm, camera, motion)[0]
    by_flow = occlusion_by_flow(flow, back)[0]
    for found in (by_depth, by_flow):
        agree = (found == truth)[lands[0]].float().mean()
        assert agree > 0.97
        assert (found & truth).sum() > 0.7 * truth.sum()


def test_what_leaves_the_image_or_was_never_known_counts_as_agreed():
    camera = cameras()["pinhole"]
    depth_mm = torch.full((1, H, W), 50.0, dtype=torch.float64)
    depth_mm[:, 4, 5] = 0
    motion = relative(at(30, 0, 0), at(0, 0, 0))
    hidden = occlusion_by_depth(depth_mm, depth_mm, camera, motion)
    assert hidden[0, :, 0].all()
    assert not hidden[0, 4, 5]
    flow = torch.zeros(2, H, W)
    flow[0] = -24
    assert occlusion_by_flow(flow, -flow)[0, :, :23].all()
    assert not occlusion_by_flow(flow, -flow)[0, :, 25:].any()


def test_where_the_target_knows_nothing_everything_is_hidden():
    camera = cameras()["pinhole"]
    depth_mm = torch.full((1, H, W), 50.0, dtype=torch.float64)
    hidden = occlusion_by_depth(depth_mm, torch.zeros_like(depth_mm), camera, at(0, 0, 0))
    assert hidden.all()


def test_a_pixel_of_disagreement_is_an_occlusion():
    still = torch.zeros(2, H, W)
    one = still + torch.tensor([1.0, 0]).reshape(2, 1, 1)
    assert occlusion_by_flow(still, one).all()
    assert not occlusion_by_flow(still, 0.5 * one).any()


def test_a_lookup_says_what_it_was_given_instead():
    with pytest.raises(ShapeError, match="pixels has shape"):
        sample(torch.zeros(1, 3, H, W), torch.zeros(1, H, W, 3), lookup=Lookup.BILINEAR)
    with pytest.raises(DataError, match="int64"):
        sample(torch.zeros(1, 3, H, W).long(), torch.zeros(1, 4, 4, 2), lookup=Lookup.BILINEAR)
