import json
import math

import numpy as np
import pytest
import torch

from colondepth.cameras import Camera
from colondepth.motion import rigid_motion, so3_exp
from colondepth.reconstruction.polyps import (
    CLASSES,
    VIEW_STD,
    Shape,
    combined,
    polyp_size,
)
from synthetic_colons.analytic import Plane, Sphere, look

PINHOLE = Camera.pinhole(fx=150.0, fy=140.0, cx=98.5, cy=72.0, height=150, width=200)
FISHEYE = Camera.fisheye(fx=120.0, fy=115.0, cx=98.5, cy=72.0, height=150, width=200)
HERE = torch.eye(4, dtype=torch.float64)
WALL = Plane(point_mm=(0, 0, 40), across=(0, 0, 1))


def dome(radius=8.0, middle=(3.0, -2.0, 44.0), camera=PINHOLE, wall=WALL, motion=HERE):
    """A cap of a ball on a wall, its depth and its mask."""
    both = look((wall, Sphere(centre_mm=middle, radius_mm=radius)), camera, motion)
    alone = look((wall,), camera, motion)
    polyp = (both.depth_mm < alone.depth_mm - 1e-6) & (both.depth_mm > 0)
    return both.depth_mm.float(), polyp


def foot_mm(radius=8.0, sunk=4.0):
    return 2 * math.sqrt(radius**2 - sunk**2)


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE])
def test_a_dome_has_the_diameter_and_height_of_its_cap(camera):
    depth_mm, polyp = dome(camera=camera)
    found = polyp_size(depth_mm, camera, polyp, scale_std=0.05)
    assert found.size_mm == pytest.approx(foot_mm(), rel=0.05)
    assert found.height_mm == pytest.approx(4.0, rel=0.1)
    assert found.shape is Shape.SESSILE
    assert found.answered
    assert found.low_mm < foot_mm() < found.high_mm


def test_a_slanted_wall_does_not_shorten_a_polyp():
    # Seen 40 degrees from the front, the longer way across lies along the slope.
    motion = rigid_motion(
        so3_exp(torch.tensor([0.0, 0.7, 0.0], dtype=torch.float64)),
        torch.tensor([-26.0, 0.0, 8.0], dtype=torch.float64),
    )
    depth_mm, polyp = dome(middle=(0.0, 0.0, 46.0), motion=motion)
    found = polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.05)
    assert found.size_mm == pytest.approx(foot_mm(sunk=6.0), rel=0.08)


def test_twice_the_depth_is_twice_the_size():
    depth_mm, polyp = dome()
    once = polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.1)
    twice = polyp_size(2 * depth_mm, PINHOLE, polyp, scale_std=0.1)
    assert twice.size_mm == pytest.approx(2 * once.size_mm, rel=1e-6)
    assert twice.height_mm == pytest.approx(2 * once.height_mm, rel=1e-3)
    assert twice.shape is once.shape


def test_wall_depth_at_the_rim_of_a_ragged_mask_changes_little():
    depth_mm, polyp = dome(radius=6, middle=(3.0, -2.0, 30.0))  # a ball before a wall 10 mm behind
    clean = polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.1).size_mm
    assert clean == pytest.approx(12, rel=0.08)
    wide = torch.nn.functional.max_pool2d(polyp.float(), 3, 1, 1) > 0
    generator = torch.Generator().manual_seed(0)
    ragged = torch.where(torch.rand(polyp.shape, generator=generator) > 0.5, polyp, wide)
    assert polyp_size(depth_mm, PINHOLE, ragged, scale_std=0.1).size_mm < clean * 1.08


def test_the_interval_holds_the_truth_as_often_as_it_says():
    depth_mm, polyp = dome()
    rng = np.random.default_rng(3)
    inside, total = 0, 400
    for factor in np.exp(rng.normal(0, math.hypot(0.2, VIEW_STD), total)):
        found = polyp_size(depth_mm * float(factor), PINHOLE, polyp, scale_std=0.2)
        inside += found.low_mm <= foot_mm() <= found.high_mm
    assert 0.92 <= inside / total <= 0.99


def test_probabilities_are_those_of_the_interval():
    depth_mm, polyp = dome()
    found = polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.1)
    draws = np.exp(np.random.default_rng(0).normal(math.log(found.size_mm), found.log_std, 100_000))
    shares = ((draws <= 5).mean(), ((draws > 5) & (draws < 10)).mean(), (draws >= 10).mean())
    assert found.probabilities == pytest.approx(shares, abs=0.005)
    assert sum(found.probabilities) == pytest.approx(1)


def test_reasons_to_abstain_are_said():
    depth_mm, polyp = dome()
    guess = Camera.pinhole(
        fx=150.0, fy=140.0, cx=98.5, cy=72.0, height=150, width=200, calibrated=False
    )

    def why(*arguments, **options):
        found = polyp_size(*arguments, **{"scale_std": 0.05, **options})
        assert not found.answered
        return "; ".join(found.why_not)

    assert "not calibrated" in why(depth_mm, guess, polyp)
    assert "too wide" in why(depth_mm, PINHOLE, polyp, scale_std=0.5)
    cut = polyp.clone()
    cut[..., :4, :] = polyp.any()
    cut[..., 4:, :] &= False
    cut[..., :, :30] = False
    assert "edge of the image" in why(depth_mm, PINHOLE, cut)
    aperture = torch.ones_like(polyp)
    columns = polyp.any(dim=1)[0].nonzero()[:, 0]
    aperture[..., : int(columns.float().mean())] = False
    assert "edge of the scope" in why(depth_mm, PINHOLE, polyp & aperture, inside=aperture)
    assert "pixels" in why(depth_mm, PINHOLE, polyp & False)
    assert "depth is known on" in why(depth_mm * ~polyp, PINHOLE, polyp)
    hidden = depth_mm.clone()
    hidden[..., : int(columns.float().mean())] = 20.0  # a fold before half of it
    half = polyp.clone()
    half[..., : int(columns.float().mean())] = False
    assert "something nearer" in why(hidden, PINHOLE, half)


def test_a_size_on_the_edge_of_two_classes_with_a_wide_interval_is_no_class():
    depth_mm, polyp = dome(radius=4.2, middle=(3.0, -2.0, 40.0))
    found = polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.24)
    assert found.size_mm == pytest.approx(8.4, rel=0.05)
    sure = polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.02)
    assert sure.answered
    assert max(found.probabilities) < max(sure.probabilities)


def test_frames_of_a_polyp_make_one_size_that_is_surer_but_not_sure():
    depth_mm, polyp = dome()
    sizes = [
        polyp_size(depth_mm * factor, PINHOLE, polyp, scale_std=0.15)
        for factor in (0.95, 1.0, 1.02, 1.06)
    ]
    found = combined(sizes)
    assert found.frames == 4
    assert found.size_mm == pytest.approx(foot_mm(), rel=0.06)
    assert math.sqrt(0.8) * 0.15 < found.log_std < sizes[0].log_std
    many = combined(sizes * 100)
    assert many.log_std > 0.95 * math.sqrt(0.8) * 0.15  # scale stays, however many frames
    silent = polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.6)
    assert combined([silent, *sizes]).frames == 4
    assert combined([silent]).why_not == silent.why_not
    assert not combined([]).answered


def test_answers_can_be_written_and_read_aloud():
    depth_mm, polyp = dome()
    found = polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.05)
    answer = json.loads(json.dumps(found.table()))
    assert answer["answered"]
    assert set(answer["probabilities"]) == set(CLASSES)
    assert "13" in found.words()
    nothing = polyp_size(depth_mm, PINHOLE, polyp & False)
    assert json.loads(json.dumps(nothing.table(), allow_nan=True))["size_mm"] is None
    assert nothing.words().startswith("no size")


def test_of_two_pieces_the_larger_one_is_sized_and_nothing_is_changed():
    depth_mm, polyp = dome()
    both = polyp.clone()
    both[..., 130:140, 10:20] = True
    before = both.clone(), depth_mm.clone()
    found = polyp_size(depth_mm, PINHOLE, both, scale_std=0.05)
    assert found.size_mm == pytest.approx(
        polyp_size(depth_mm, PINHOLE, polyp, scale_std=0.05).size_mm, rel=1e-6
    )
    assert torch.equal(both, before[0])
    assert torch.equal(depth_mm, before[1])
