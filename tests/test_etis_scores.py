"""What each score without depth says on scenes where the answer is known."""

import math

import pytest
import torch
from polyp_scenes import CAMERA, HEIGHT_MM, PolypScene, on_a_plane, on_a_tube
from scipy import ndimage
from torch import Tensor

from colondepth.errors import DataError
from colondepth.reconstruction.relief import Relief, relief
from evaluation.etis_borders import borders
from evaluation.etis_ordinal import Nearer, PointPair, disagreement, read_pairs, require_frames
from evaluation.etis_pairs import Seen, agreement, agreements, grey_of
from evaluation.etis_shading import lighting_of, relit, shading
from evaluation.etis_stability import GAMMA, moved_by, stability
from synthetic_colons.exposure import srgb_from_linear

H, W = CAMERA.height, CAMERA.width


def relief_of(scene: PolypScene, depth_mm: Tensor) -> Relief:
    return relief(depth_mm, scene.camera, polyp=scene.polyp, usable=scene.everywhere)


@pytest.mark.parametrize("yaw_rad", [0.0, 0.3])
def test_the_relief_of_a_cap_on_a_plane_is_its_height(yaw_rad):
    scene = on_a_plane(yaw_rad=yaw_rad)
    found = relief_of(scene, scene.depth_mm)
    assert HEIGHT_MM * 0.97 < found.height_mm < HEIGHT_MM * 1.001
    # Seen in perspective the near half counts more, so the mean is above that of the cap, h / 2
    # and a little (the volume of a cap over its base), and below its height.
    assert HEIGHT_MM / 2 < found.mean_mm < HEIGHT_MM * 0.75


def test_the_relief_of_a_cap_in_a_tube_is_its_height_above_the_bent_wall():
    scene = on_a_tube()
    assert relief_of(scene, scene.depth_mm).height_mm == pytest.approx(HEIGHT_MM, rel=0.05)


def test_a_wall_without_polyp_has_no_relief_and_a_dent_has_a_negative_one():
    scene = on_a_plane()
    assert relief_of(scene, scene.wall_mm).height_mm == pytest.approx(0, abs=1e-6)
    dent = relief_of(scene, 2 * scene.wall_mm - scene.depth_mm)
    assert dent.mean_mm < -HEIGHT_MM / 2


def test_relief_follows_the_scale_of_depth_and_its_ratio_to_noise_does_not():
    scene = on_a_plane()
    rough = torch.randn(1, H, W, generator=torch.Generator().manual_seed(3)).double()
    depth_mm = scene.depth_mm * (1 + 0.01 * rough)
    one, two = relief_of(scene, depth_mm), relief_of(scene, 2 * depth_mm)
    assert two.height_mm == pytest.approx(2 * one.height_mm, rel=1e-6)
    assert two.signal_to_noise == pytest.approx(one.signal_to_noise, rel=1e-6)
    assert one.signal_to_noise < relief_of(scene, scene.depth_mm).signal_to_noise / 3


def test_the_noise_of_a_relief_is_that_of_the_wall():
    scene = on_a_plane(yaw_rad=0.0)
    rough = torch.randn(1, H, W, generator=torch.Generator().manual_seed(4)).double()
    found = relief_of(scene, scene.depth_mm + 0.3 * rough)
    assert found.noise_mm == pytest.approx(0.3, rel=0.1)


def test_a_far_lumen_beside_the_polyp_does_not_move_the_wall():
    scene = on_a_plane()
    depth_mm = scene.depth_mm.clone()
    u = int(scene.polyp[0].any(dim=0).nonzero().max()) - 2
    far = ~scene.polyp
    far[..., :u] = False
    depth_mm[far] *= 3 + torch.linspace(0, 2, H * W).reshape(1, H, W)[far]  # a bent far wall
    assert relief_of(scene, depth_mm).height_mm == pytest.approx(HEIGHT_MM, rel=0.1)


def test_a_polyp_in_a_corner_or_without_depth_has_no_relief_and_says_why():
    scene = on_a_plane()
    corner = torch.zeros_like(scene.polyp)
    corner[..., :20, :20] = True
    cut = relief(scene.depth_mm, CAMERA, polyp=corner, usable=scene.everywhere)
    assert math.isnan(cut.height_mm)
    assert "sides" in cut.why_not
    blind = relief_of(scene, torch.where(scene.polyp, 0.0, scene.depth_mm))
    assert math.isnan(blind.signal_to_noise)
    assert "0 pixels of polyp" in blind.why_not


def test_breaks_of_geometry_lie_on_the_mask_where_the_polyp_stands_before_the_wall():
    scene = on_a_plane(lifted_mm=6.0)
    right = borders(scene.depth_mm, CAMERA, polyp=scene.polyp, usable=scene.everywhere)
    moved = scene.polyp.roll((9, 11), dims=(1, 2))
    wrong = borders(scene.depth_mm, CAMERA, polyp=moved, usable=scene.everywhere)
    assert right.depth_f > 0.9
    assert right.normals_f > 0.9
    assert wrong.depth_f < right.depth_f / 1.5
    assert wrong.normals_f < right.normals_f / 1.5
    assert 0 < right.chance < 0.3


def test_a_wall_without_breaks_has_no_border_and_an_empty_mask_has_no_score():
    scene = on_a_plane()
    flat = borders(
        torch.full_like(scene.depth_mm, 20.0), CAMERA, polyp=scene.polyp, usable=scene.everywhere
    )
    assert flat.depth_f == 0
    nothing = torch.zeros_like(scene.polyp)
    empty = borders(scene.depth_mm, CAMERA, polyp=nothing, usable=scene.everywhere)
    assert math.isnan(empty.depth_f)


def lit_image(depth_mm: Tensor) -> Tensor:
    light = torch.from_numpy(relit(depth_mm, CAMERA)[0]).exp()
    return srgb_from_linear(0.8 * light / light.max()).expand(3, -1, -1)


def test_the_depth_that_made_the_light_explains_it_and_the_controls_do_not():
    scene = on_a_plane()
    usable = scene.everywhere
    lighting = lighting_of(
        lit_image(scene.depth_mm), CAMERA, usable=usable, other_depth_mm=on_a_tube().depth_mm
    )
    own = shading(scene.depth_mm, CAMERA, lighting)
    assert own.correlation == pytest.approx(1, abs=1e-6)
    assert own.detail == pytest.approx(1, abs=1e-6)
    assert own.margin == pytest.approx(1 - max(own.flat, own.mirrored, own.other), abs=1e-6)
    assert own.margin > 0.05
    scaled = shading(3 * scene.depth_mm, CAMERA, lighting)
    assert scaled.correlation == pytest.approx(1, abs=1e-6)
    assert shading(scene.wall_mm, CAMERA, lighting).detail < 0.5


def test_a_wall_across_the_axis_is_lit_by_the_cube_of_the_cosine_over_its_distance_squared():
    logs, lit = relit(torch.full((1, H, W), 20.0, dtype=torch.float64), CAMERA)
    cosine = CAMERA.rays(H, W)[..., 2]
    assert lit.all()
    expected = 3 * cosine.log() - 2 * math.log(20)
    torch.testing.assert_close(torch.from_numpy(logs), expected, atol=1e-9, rtol=0)


def test_pixels_that_may_not_be_used_do_not_change_shading():
    scene = on_a_plane()
    image = lit_image(scene.depth_mm)
    usable = scene.everywhere.clone()
    usable[..., 10:30, 10:40] = False
    image = torch.where(usable, image, 0.5)
    found = shading(scene.depth_mm, CAMERA, lighting_of(image, CAMERA, usable=usable))
    assert found.correlation == pytest.approx(1, abs=1e-6)


def test_too_few_pixels_give_no_shading():
    scene = on_a_plane()
    lighting = lighting_of(torch.zeros(3, H, W), CAMERA, usable=scene.everywhere)
    assert math.isnan(shading(scene.depth_mm, CAMERA, lighting).correlation)


def test_stability_is_what_follows_from_the_networks_own_formula():
    image = 0.1 + 0.6 * torch.rand(3, H, W, generator=torch.Generator().manual_seed(5))
    everywhere = torch.ones(1, H, W, dtype=torch.bool)

    def bright(picture: Tensor, camera: object) -> Tensor:
        return picture[:1]

    moved = stability(image[:1], image, CAMERA, usable=everywhere, predict=bright).moved
    for name in ("mirrored", "upside down", "cropped", "darker", "brighter"):
        assert moved[name] == pytest.approx(0, abs=1e-6), name
    log = (GAMMA - 1) * image[0].double().log()
    assert moved["gamma"] == pytest.approx(float((log - log.median()).abs().median()), rel=1e-3)
    assert moved["JPEG"] > 0.01
    assert moved["hue"] > 0.01


def test_a_network_that_knows_left_from_right_is_not_stable_when_mirrored():
    image = torch.rand(3, H, W, generator=torch.Generator().manual_seed(6))
    ramp = torch.linspace(-0.2, 0.2, W).expand(1, H, W).exp()
    everywhere = torch.ones(1, H, W, dtype=torch.bool)

    def learnt_by_heart(picture: Tensor, camera: object) -> Tensor:
        return ramp[..., : picture.shape[-2], : picture.shape[-1]]

    moved = stability(ramp, image, CAMERA, usable=everywhere, predict=learnt_by_heart).moved
    assert moved["mirrored"] == pytest.approx(0.2, rel=0.02)  # 2 * 0.2 * the median of |u|
    assert moved["upside down"] == pytest.approx(0, abs=1e-6)
    assert moved["gamma"] == pytest.approx(0, abs=1e-6)


def test_depth_known_nowhere_in_both_has_no_movement():
    depth_mm = torch.zeros(1, H, W)
    assert math.isnan(moved_by(depth_mm, depth_mm + 1, torch.ones(1, H, W, dtype=torch.bool)))


def test_point_pairs_are_judged_on_the_labelled_images_own_pixels(tmp_path):
    depth_mm = torch.tensor([[[10.0, 20.0, 0.0], [10.2, 40.0, 30.0]]])  # (1, 2, 3)
    pairs = [
        PointPair(first=(0, 0), second=(1, 0), nearer=Nearer.FIRST),  # right
        PointPair(first=(0, 0), second=(0, 1), nearer=Nearer.SAME),  # right: 2 %
        PointPair(first=(1, 1), second=(2, 1), nearer=Nearer.FIRST),  # wrong
        PointPair(first=(0, 0), second=(2, 0), nearer=Nearer.FIRST),  # unknown: wrong
    ]
    assert disagreement(depth_mm, pairs, size=(2, 3)) == (0.5, 4)
    large = [PointPair(first=(9, 2), second=(11, 19), nearer=Nearer.SECOND)]  # (0, 0), (1, 1)
    assert disagreement(depth_mm, large, size=(20, 30)) == (1.0, 1)
    upper = [PointPair(first=(15, 7), second=(25, 19), nearer=Nearer.FIRST)]  # rows 0, 1
    assert disagreement(depth_mm, upper, size=(20, 30)) == (0.0, 1)
    assert math.isnan(disagreement(depth_mm, [], size=(2, 3))[0])
    with pytest.raises(DataError, match="outside"):
        disagreement(depth_mm, large, size=(10, 10))

    file = tmp_path / "pairs.csv"
    file.write_text("frame,first_u,first_v,second_u,second_v,nearer\n7,1,2,3.5,4,second\n")
    (pair,) = read_pairs(file)["7"]
    assert pair == PointPair(first=(1, 2), second=(3.5, 4), nearer=Nearer.SECOND)
    with pytest.raises(DataError, match="'7'"):
        require_frames(read_pairs(file), ["8"])
    file.write_text("frame,first_u,first_v,second_u,second_v,nearer\n7,1,2,3.5,4,left\n")
    with pytest.raises(DataError, match="line 2"):
        read_pairs(file)


def texture(seed: int) -> Tensor:
    noise = torch.rand(H, W, generator=torch.Generator().manual_seed(seed)).numpy()
    smooth = torch.from_numpy(ndimage.gaussian_filter(noise, 2.5))
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min())).expand(3, -1, -1)


def seen(name: str, image: Tensor, scene: PolypScene, depth_mm: Tensor, shift: int) -> Seen:
    moved = {"dims": (1, 2), "shifts": (shift, -shift)}
    return Seen(
        frame=name,
        grey=grey_of(image.roll(**moved)),
        polyp=scene.polyp.roll(**moved)[0].numpy(),
        depth_mm=depth_mm.roll(**moved),
        relief=relief_of(scene, depth_mm),
    )


def test_two_views_of_one_polyp_agree_up_to_scale_and_show_what_differs():
    scene, image = on_a_plane(yaw_rad=0.0), texture(1)
    first = seen("a", image, scene, scene.depth_mm, 0)
    same = agreement(first, seen("b", image, scene, 2 * scene.depth_mm, 4))
    assert same is not None
    assert same.overlap > 0.95
    assert same.correlation > 0.95
    assert same.moved == pytest.approx(0, abs=2e-3)
    assert same.relief_ratio == pytest.approx(0, abs=2e-3)
    flatter = scene.wall_mm + (scene.depth_mm - scene.wall_mm) / 3
    other = agreement(first, seen("c", image, scene, flatter, 4))
    assert other is not None
    assert other.relief_ratio == pytest.approx(math.log(3), rel=0.05)
    tilted = scene.depth_mm * torch.linspace(-0.3, 0.3, W, dtype=torch.float64).exp()
    aslant = agreement(first, seen("d", image, scene, tilted, 4))
    assert aslant is not None
    assert 0.01 < aslant.moved < 0.3


def test_views_that_look_different_are_no_pair_and_pairs_stand_near_each_other():
    scene = on_a_plane(yaw_rad=0.0)
    own = seen("a", texture(1), scene, scene.depth_mm, 0)
    foreign = seen("x", texture(2), scene, scene.depth_mm, 0)
    twin = seen("b", texture(1), scene, scene.depth_mm, 2)
    assert agreement(own, foreign) is None
    assert [(p.first, p.second) for p in agreements([own, foreign, twin])] == [("a", "b")]
    far = agreements([own, foreign, foreign, foreign, twin])
    assert "a" not in [pair.first for pair in far]
