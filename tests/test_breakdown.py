"""Errors in parts of a frame."""

import math

import pytest
import torch
from torch.testing import assert_close

from colondepth.cameras import Camera
from colondepth.errors import DataError, ShapeError
from evaluation.breakdown import angle_rings, breakdown, depth_ranges, lit_and_dark, part_shares
from evaluation.depth_errors import DEPTH_ERRORS

H, W = 12, 17


def row(*values):
    return torch.tensor(values).reshape(1, 1, 1, -1)


def names_at(parts, frame=0):
    """The part of every pixel of a row."""
    return [
        [name for name, inside in parts.items() if inside[frame, 0, 0, u]]
        for u in range(next(iter(parts.values())).shape[-1])
    ]


def test_a_depth_on_an_edge_belongs_to_the_farther_range_and_0_to_none():
    parts = depth_ranges(row(0.0, 0.1, 9.9, 10.0, 29.0, 30.0, 500.0), edges_mm=(10, 30))
    assert names_at(parts) == [
        [],
        ["0-10 mm"],
        ["0-10 mm"],
        ["10-30 mm"],
        ["10-30 mm"],
        ["30 mm and farther"],
        ["30 mm and farther"],
    ]


def test_a_range_has_the_errors_of_its_own_pixels():
    true = row(5.0, 15.0, 20.0, 90.0).expand(2, -1, -1, -1)
    found = true * torch.tensor([1.1, 1.3, 1.5, 2.0])
    known = row(True, True, True, False).expand(2, -1, -1, -1).clone()
    known[1, ..., 0] = False
    ranges = depth_ranges(true, edges_mm=(10, 80))
    errors = breakdown(found, true, known, parts=ranges)
    assert list(errors) == ["0-10 mm", "10-80 mm", "80 mm and farther"]
    assert errors["0-10 mm"].keys() == DEPTH_ERRORS.keys()
    near, middle, far = (part["abs_rel"] for part in errors.values())
    assert_close(near, torch.tensor([0.1, math.nan]).double(), equal_nan=True, atol=1e-6, rtol=0)
    assert_close(middle, torch.tensor([0.4, 0.4]).double(), atol=1e-6, rtol=0)
    assert far.isnan().all()
    shares = part_shares(known, parts=ranges)
    assert [share.tolist() for share in shares.values()] == [
        pytest.approx([1 / 3, 0]),
        pytest.approx([2 / 3, 1]),
        [0, 0],
    ]


def test_rings_are_by_the_angle_of_the_ray_and_not_by_pixels():
    camera = Camera.fisheye(fx=9.0, fy=12.0, cx=3.25, cy=4.5, height=H, width=W)
    rings = angle_rings(camera, edges_deg=(20, 45))
    assert list(rings) == ["centre", "middle", "rim"]
    counts = dict.fromkeys(rings, 0)
    for v in range(H):
        for u in range(W):
            # an equidistant lens: the angle is the distance from the centre over the focal length
            angle = math.degrees(math.hypot((u - 3.25) / 9, (v - 4.5) / 12))
            wanted = "centre" if angle < 20 else "middle" if angle < 45 else "rim"
            assert [name for name, inside in rings.items() if inside[0, 0, v, u]] == [wanted]
            counts[wanted] += 1
    assert min(counts.values()) > 5


def test_a_pinhole_has_its_middle_where_the_tangent_says():
    camera = Camera.pinhole(fx=10.0, fy=13.0, cx=0.0, cy=0.0, height=H, width=W)
    middle = angle_rings(camera, edges_deg=(30, 50))["middle"][0, 0, 0]
    assert middle.nonzero()[:, 0].tolist() == [6, 7, 8, 9, 10, 11]  # from 5.77 to 11.92 pixels


def test_a_pixel_that_no_light_reaches_is_in_no_ring():
    camera = Camera.fisheye(fx=2.0, fy=2.5, cx=8.0, cy=6.0, height=H, width=W)
    unseen = (camera.rays(H, W) == 0).all(dim=-1)
    assert 0 < unseen.sum() < H * W
    inside = sum(ring.int() for ring in angle_rings(camera).values())
    assert_close(inside[0, 0] == 0, unseen)


def test_one_camera_serves_a_batch_and_rings_do_not_overlap():
    camera = Camera.assumed(H, W)
    rings = angle_rings(camera)
    assert all(ring.any() for ring in rings.values())
    true = torch.rand(2, 1, H, W, generator=torch.Generator().manual_seed(0)) + 1
    known = torch.ones_like(true, dtype=torch.bool)
    shares = part_shares(known, parts=rings)
    assert_close(sum(shares.values()), torch.ones(2, dtype=torch.float64))
    errors = breakdown(1.2 * true, true, known, parts=rings)
    assert_close(errors["rim"]["abs_rel"], torch.full((2,), 0.2).double(), rtol=1e-6, atol=0)


def test_dark_is_where_no_channel_is_bright():
    image = torch.tensor([[0.1, 0.1, 0.1], [0.3, 0.0, 0.0], [0.2, 0.2, 0.2], [0.0, 0.0, 0.25]])
    parts = lit_and_dark(image.T[None, :, None])
    assert names_at(parts) == [["dark"], ["lit"], ["dark"], ["lit"]]


def test_a_frame_without_known_pixels_has_no_shares():
    known = torch.zeros(2, 1, 1, 3, dtype=torch.bool)
    assert part_shares(known, parts={"all": ~known})["all"].isnan().all()


def test_what_is_no_part_is_refused():
    true = torch.ones(3, 1, H, W)
    known = true > 0
    with pytest.raises(DataError, match=r"edges_mm is \(20, 10\), expected increasing numbers"):
        depth_ranges(true, edges_mm=(20, 10))
    with pytest.raises(DataError, match=r"edges_mm is \(0, 10\), expected increasing numbers"):
        depth_ranges(true, edges_mm=(0, 10))
    with pytest.raises(DataError, match="edges_deg has 3 numbers, expected 2"):
        angle_rings(Camera.assumed(H, W), edges_deg=(10, 20, 30))
    with pytest.raises(DataError, match="part 'two' is for 2 frames, expected 1 or 3"):
        breakdown(true, true, known, parts={"two": known[:2]})
    with pytest.raises(ShapeError, match="turned has shape"):
        part_shares(known, parts={"turned": known.mT})
    with pytest.raises(DataError, match="float holds float32, expected bool"):
        part_shares(known, parts={"float": true})
