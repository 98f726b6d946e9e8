"""The surface of one view against walls that are known in closed form, through every lens."""

import math
from dataclasses import replace

import pytest
import torch
from scenes import H, W, at, cameras
from torch import Tensor
from torch.testing import assert_close

from colondepth.cameras import Camera, stack
from colondepth.errors import DataError, ShapeError
from colondepth.reconstruction.surface import Surface, view_surface
from synthetic_colons.analytic import Plane, Sphere, Tube, look

BALL = Sphere(centre_mm=(0, 0, 0), radius_mm=25)
TUBE = Tube(point_mm=(0, 0, 0), along=(0, 0, 1), radius_mm=25)
EVERYTHING = {"jump": math.inf, "grazing_rad": math.pi / 2}


@pytest.fixture(params=cameras())
def camera(request) -> Camera:
    return cameras()[request.param]


def narrow(height: int = 24, width: int = 32) -> Camera:
    """See 4 degrees to every side, so that a plane is met at almost one angle."""
    size = {"height": height, "width": width}
    return Camera.pinhole(fx=230, fy=240, cx=0.47 * width, cy=0.52 * height, **size)


def tilted(angle_rad: float) -> Tensor:
    """Return the depth of a plane whose normal is so far from the axis of the narrow camera."""
    plane = Plane(point_mm=(0, 0, 30), across=(math.sin(angle_rad), 0, -math.cos(angle_rad)))
    return look([plane], narrow(), at(0, 0, 0)).depth_mm


def stepped(far_mm: float) -> Tensor:
    """Return a wall at 30 mm with one behind its right half."""
    depth_mm = torch.full((1, 24, 32), 30.0)
    depth_mm[..., 16:] = far_mm
    return depth_mm


@pytest.mark.parametrize("wall", [BALL, TUBE], ids=["ball", "tube"])
def test_every_vertex_lies_on_the_wall_and_sees_its_own_pixel(camera, wall):
    world_from_camera = at(3, -6, 4, yaw_rad=0.3)
    view = look([wall], camera, world_from_camera)
    image, depth_mm = view.image.float(), view.depth_mm.float()
    surface = view_surface(image, depth_mm, camera, world_from_camera=world_from_camera)
    assert surface.vertices_mm.dtype == torch.float32
    assert len(surface.vertices_mm) > 0.6 * H * W
    points = surface.vertices_mm.double()
    off_mm = points[:, : 2 if wall is TUBE else 3].norm(dim=-1) - 25
    assert off_mm.abs().max() < 1e-3
    in_camera = surface.moved(torch.linalg.inv(world_from_camera))
    pixels, in_front = camera.project(in_camera.vertices_mm.double())
    u, v = pixels.round().long().unbind(dim=-1)
    assert in_front.all()
    assert (pixels - pixels.round()).abs().max() < 1e-3
    assert len((v * W + u).unique()) == len(points)
    assert_close(surface.colours, image[:, v, u].mT)


def test_middles_of_triangles_are_as_near_to_a_ball_as_neighbouring_pixels_allow(camera):
    surface = view_surface(
        None, look([BALL], camera, at(0, 0, 0)).depth_mm.float(), camera, **EVERYTHING
    )
    rays = camera.rays(H, W)
    steps = (rays[1:, 1:] - rays[:-1, :-1], rays[1:, :-1] - rays[:-1, 1:])
    longest = max(float(step.norm(dim=-1).max()) for step in steps)  # chord of a diagonal, radii
    # A triangle with edges up to e is within e / sqrt 3 of a middle (Jung): the cap is so high.
    height_mm = 25 * (1 - math.sqrt(1 - longest**2 / 3))
    middle_mm = surface.vertices_mm[surface.faces].double().mean(dim=1).norm(dim=-1)
    assert len(surface.faces) > 3000
    assert (middle_mm < 25).all()
    assert (25 - middle_mm).max() < height_mm + 1e-5


def test_middles_of_triangles_lie_within_the_sagitta_of_a_tube(camera):
    depth_mm = look([TUBE], camera, at(0, 0, 0)).depth_mm.float()
    surface = view_surface(None, depth_mm, camera)
    corners = surface.vertices_mm[surface.faces].double()[..., :2]  # (F, 3, 2) across the axis
    chord = (corners - corners.roll(1, dims=1)).norm(dim=-1).amax(dim=-1)
    sagitta_mm = 25 - (25**2 - chord.square() / 4).sqrt()
    inside_mm = 25 - corners.mean(dim=1).norm(dim=-1)
    assert len(surface.faces) > 1000
    assert chord.max() < 12  # neighbours, and not pixels across the lumen
    assert ((inside_mm > -1e-4) & (inside_mm < sagitta_mm + 1e-4)).all()


def test_the_area_comes_nearer_with_the_square_of_the_pixel():
    def error(scale: int) -> float:
        camera = cameras()["pinhole"].resized(scale * H, scale * W)
        depth_mm = look([BALL], camera, at(0, 0, 0)).depth_mm
        area = float(view_surface(None, depth_mm, camera).areas_mm2().double().sum())
        (fx, _), (_, fy) = camera.linear.tolist()
        cx, cy = camera.centre.tolist()
        left, right = -cx / fx, (camera.width - 1 - cx) / fx
        top, low = -cy / fy, (camera.height - 1 - cy) / fy

        def solid(x: float, y: float) -> float:
            return math.atan(x * y / math.sqrt(1 + x * x + y * y))

        whole = solid(right, low) - solid(left, low) - solid(right, top) + solid(left, top)
        return 1 - area / (25**2 * whole)

    errors = [error(scale) for scale in (1, 2, 4)]
    assert 0 < errors[2] < errors[1] < errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_triangles_turn_counter_clockwise_as_the_camera_sees_them(camera, mirrored):
    if mirrored:
        camera = replace(camera, linear=-camera.linear * torch.tensor([-1.0, 1.0]))
    surface = view_surface(None, look([TUBE], camera, at(3, -6, 4)).depth_mm, camera)
    middle = surface.vertices_mm[surface.faces].mean(dim=1)
    assert len(surface.faces) > 1000
    assert ((surface.normals() * middle).sum(dim=-1) < 0).all()


def test_nothing_joins_a_wall_to_the_one_behind_it(camera):
    near = Sphere(centre_mm=(1, -2, 26), radius_mm=6)
    world_from_camera = at(0.5, 0, 0)
    view = look([near, TUBE], camera, world_from_camera)
    surface = view_surface(None, view.depth_mm, camera, world_from_camera=world_from_camera)
    off_tube_mm = (surface.vertices_mm[:, :2].norm(dim=-1) - 25).abs()
    off_near_mm = (surface.vertices_mm - torch.tensor([1.0, -2, 26])).norm(dim=-1) - 6
    on_near = off_near_mm.abs() < 1e-3
    assert ((off_tube_mm < 1e-3) | on_near).all()
    count = on_near[surface.faces].sum(dim=-1)
    assert set(count.tolist()) == {0, 3}
    joined = view_surface(None, view.depth_mm, camera, **EVERYTHING)
    assert len(joined.faces) > len(surface.faces) + 30


def test_a_step_is_cut_along_its_pixels_and_loses_no_vertex():
    surface = view_surface(None, stepped(45.0), narrow())
    assert len(surface.vertices_mm) == 24 * 32
    assert len(surface.faces) == 2 * 23 * 30
    assert len(view_surface(None, stepped(30.2), narrow()).faces) == 2 * 23 * 31


def test_no_side_of_a_triangle_is_a_step_however_rough_the_depth():
    depth_mm = 30 + 9 * torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(0))
    surface = view_surface(None, depth_mm, narrow(), grazing_rad=math.pi / 2)
    log = surface.vertices_mm.norm(dim=-1).log()[surface.faces]  # (F, 3)
    assert 0.1 < len(surface.faces) / (2 * 23 * 31) < 0.9
    assert (log - log.roll(1, dims=-1)).abs().max() < 0.15 + 1e-5


def test_a_step_that_may_be_noise_is_no_step():
    depth_mm = stepped(36.0)  # log step 0.18; with std 0.1 the limit is sqrt(0.15^2 + 2 * 0.1^2)
    std = torch.full_like(depth_mm, 0.1)
    given = {"log_depth_std": std, "grazing_rad": math.pi / 2}
    both = 2 * 23 * 31
    assert len(view_surface(None, depth_mm, narrow(), grazing_rad=math.pi / 2).faces) < both
    assert len(view_surface(None, depth_mm, narrow(), **given).faces) == both
    assert len(view_surface(None, depth_mm, narrow(), jump_std=0, **given).faces) < both
    assert len(view_surface(None, stepped(38.0), narrow(), **given).faces) < both  # 0.24


def test_pixels_that_are_not_sure_are_left_out_and_the_others_say_how_sure(camera):
    depth_mm = look([BALL], camera, at(0, 0, 0)).depth_mm.float()
    std = torch.full_like(depth_mm, 0.04)
    std[..., 10:14, 20:30] = 0.31
    std[..., 0, 0] = torch.nan
    surface = view_surface(None, depth_mm, camera, log_depth_std=std)
    pixels, _ = camera.project(surface.vertices_mm.double())
    u, v = pixels.round().unbind(dim=-1)
    assert not ((v >= 10) & (v < 14) & (u >= 20) & (u < 30)).any()
    assert not ((v == 0) & (u == 0)).any()
    assert_close(surface.std_mm, torch.full_like(surface.std_mm, 25 * 0.04))  # along the ray
    more = view_surface(None, depth_mm, camera, log_depth_std=std, most_log_std=0.32, jump=0.5)
    assert len(more.vertices_mm) == len(surface.vertices_mm) + 40


def test_a_wall_seen_along_itself_is_left_out():
    squares = 2 * 23 * 31
    assert len(view_surface(None, tilted(math.radians(75)), narrow()).faces) == squares
    along = tilted(math.radians(84.5))
    assert len(view_surface(None, along, narrow(), jump=math.inf).faces) == 0
    assert len(view_surface(None, along, narrow(), **EVERYTHING).faces) == squares


def test_a_square_with_three_known_pixels_keeps_one_triangle_and_a_lone_pixel_none():
    for lost in (0, 1, 2, 3):
        depth_mm = torch.full((1, 24, 32), 30.0)
        valid = torch.zeros(1, 24, 32, dtype=torch.bool)
        valid[:, 5:7, 8:10] = True
        valid[:, 20, 3] = True
        depth_mm[0, 5 + lost // 2, 8 + lost % 2] = 0
        surface = view_surface(torch.rand(3, 24, 32), depth_mm, narrow(), valid=valid)
        assert surface.faces.sort(dim=-1).values.tolist() == [[0, 1, 2]]
        assert len(surface.vertices_mm) == len(surface.colours) == len(surface.seen) == 3
        assert surface.normals()[0, 2] < 0


def test_a_view_without_depth_is_an_empty_surface(camera):
    surface = view_surface(None, torch.zeros(1, H, W), camera, world_from_camera=at(3, -6, 40))
    assert surface.vertices_mm.shape == surface.faces.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"jump": 0}, DataError, r"jump 0, .* expected numbers above 0"),
        ({"jump_std": math.nan}, DataError, r"jump_std nan"),
        ({"grazing_rad": 80}, DataError, r"grazing_rad is 80, .* math.radians"),
        ({"depth_mm": torch.full((1, H, W), math.nan)}, DataError, r"depth_mm has \d+ of \d+"),
        ({"depth_mm": torch.ones(1, H, W).half()}, DataError, r"expected float32 or"),
        ({"depth_mm": torch.ones(2, 1, H, W)}, ShapeError, r"expected \(1 H W\)"),
        ({"view_image": torch.ones(3, H, W + 1)}, ShapeError, r"view_image has shape"),
        ({"valid": torch.ones(1, H, W)}, DataError, r"valid holds float32, expected bool"),
        ({"log_depth_std": torch.ones(1, H + 1, W)}, ShapeError, r"log_depth_std has shape"),
        ({"camera": stack([cameras()["fisheye"]] * 2)}, DataError, r"camera is a batch \(2,\)"),
        ({"world_from_camera": 2 * torch.eye(4)}, DataError, r"world_from_camera|target_from"),
    ],
)
def test_a_wrong_view_is_one_clear_error(change, error, message):
    given = {"view_image": torch.rand(3, H, W), "depth_mm": torch.full((1, H, W), 30.0)}
    given |= {"camera": cameras()["pinhole"], **change}
    with pytest.raises(error, match=message):
        view_surface(given.pop("view_image"), given.pop("depth_mm"), given.pop("camera"), **given)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"faces": torch.tensor([[0, 1, 3]])}, DataError, r"0 to 3, expected 0 to 2"),
        ({"faces": torch.tensor([[0, 1, -1]])}, DataError, r"-1 to 1, expected 0 to 2"),
        ({"faces": torch.tensor([[0.0, 1, 2]])}, DataError, r"expected whole numbers"),
        ({"vertices_mm": torch.full((3, 3), math.nan)}, DataError, r"9 of 9 values that are NaN"),
        ({"colours": torch.rand(4, 3)}, ShapeError, r"colours has shape \(4, 3\)"),
        ({"colours": torch.zeros(3, 3, dtype=torch.uint8)}, DataError, r"colours holds uint8"),
        ({"std_mm": torch.rand(2)}, ShapeError, r"std_mm has shape \(2,\)"),
        ({"seen": torch.rand(3)}, DataError, r"seen holds float32, expected whole numbers"),
    ],
)
def test_what_is_no_surface_is_refused(change, error, message):
    sound = {"vertices_mm": torch.rand(3, 3), "faces": torch.tensor([[0, 1, 2]])}
    with pytest.raises(error, match=message):
        Surface(**(sound | change))
