import json
import math

import numpy as np
import pytest
import torch
from lumens_with_holes import RADIUS_MM, axis, tube
from PIL import Image

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.motion import rigid_motion
from colondepth.reconstruction.coverage import (
    KnownCoverage,
    estimated_coverage,
    passed,
    write_coverage,
)
from colondepth.reconstruction.lumen_line import lumen_line
from colondepth.reconstruction.unrolled import write_unrolled
from colondepth.reconstruction.wall_map import CELL_MM, estimated_map, known_map

# A way that goes back and forth, and from side to side.
FORTH = torch.linspace(30, 110, 60).double()
WAY = torch.cat([FORTH[:40], FORTH[25:40].flip(0), FORTH[25:]])


def wandering(arc, bend_mm=None):
    places = axis(arc, bend_mm)
    number = torch.arange(len(places)).double()
    return places + torch.stack([3 * (number / 3).sin(), 4 * (number / 5).cos(), 0 * number], -1)


@pytest.mark.parametrize("bend_mm", [None, 60.0])
def test_the_line_of_a_tube_is_its_axis_however_the_camera_wandered(bend_mm):
    wall, _, _ = tube(bend_mm=bend_mm)
    line = lumen_line(wandering(WAY, bend_mm), wall)
    low, high = passed(line, axis([45.0, 95.0], bend_mm))
    here, _ = line.at(torch.linspace(low, high, 40))
    truth = axis(torch.linspace(0, 140, 1401), bend_mm)
    off = torch.cdist(here.double(), truth).min(dim=1).values
    assert off.max() < 1.0
    assert high - low == pytest.approx(50, abs=1.0)


def test_the_line_begins_where_the_clip_begins():
    wall, _, _ = tube()
    there, back = (lumen_line(wandering(way), wall) for way in (WAY, WAY.flip(0)))
    ends = torch.tensor([35.0, 105.0])
    assert there.nearest(axis(ends).float()).diff() > 0
    assert back.nearest(axis(ends).float()).diff() < 0


def test_a_short_way_has_a_line_as_well():
    wall, _, _ = tube()
    line = lumen_line(axis(torch.linspace(50, 57, 8)), wall)
    here, _ = line.at(torch.tensor([line.length_mm / 2]))
    assert here[0, :2].norm() < 1.0


def test_a_short_way_across_the_lumen_still_has_a_line_along_it():
    """24 mm from wall to wall and 8 along, past a wall of which a half was not seen."""
    wall, _, angle = tube()
    wall = wall.kept(angle < 3.2)
    number = torch.linspace(0, 1, 40).double()
    places = axis(66 + 8 * number) + torch.stack([24 * number - 12, 5 * number, 0 * number], -1)
    line = lumen_line(places, wall)
    _, frame = line.at(torch.tensor([line.length_mm / 2]))
    forward = torch.linalg.cross(frame[0, :, 0], frame[0, :, 1])
    assert forward[2].abs() > 0.97  # 14 degrees
    found = estimated_coverage(wall, places)
    assert found.seen_share == pytest.approx(3.2 / 6.28, abs=0.08)


def test_a_camera_that_stayed_where_it_was_has_no_line():
    with pytest.raises(DataError, match="moved by"):
        lumen_line(wandering(WAY)[:1].expand(30, 3))
    with pytest.raises(DataError, match=r"NaN|finite"):
        lumen_line(wandering(WAY) * math.nan)


@pytest.mark.parametrize("bend_mm", [None, 60.0])
def test_a_whole_tube_is_seen_and_its_area_is_right(bend_mm):
    wall, own, _ = tube(bend_mm=bend_mm)
    places = wandering(WAY, bend_mm)
    found = estimated_coverage(wall, places)
    assert found.seen_share == pytest.approx(1.0, abs=1e-6)
    assert found.gaps == ()
    line, (low, high) = found.wall.line, passed(found.wall.line, places)
    looks = torch.ones(len(wall.faces), dtype=torch.int64)
    known = known_map(wall, looks, line, (low, high))
    assert known.area_mm2.sum() == pytest.approx(2 * math.pi * RADIUS_MM * (high - low), rel=0.05)
    assert found.wall.area_mm2.sum() == pytest.approx(known.area_mm2.sum(), rel=0.02)
    assert len(own) == len(wall.faces)


@pytest.mark.parametrize("bend_mm", [None, 60.0])
def test_a_hole_is_found_with_its_place_area_and_time(bend_mm):
    wall, own, angle = tube(bend_mm=bend_mm)
    hole = (own > 60) & (own < 72) & (angle > 1.0) & (angle < 2.2)
    areas = wall.areas_mm2()
    places = wandering(FORTH, bend_mm)
    found = estimated_coverage(wall.kept(~hole), places, times_s=list(range(60)))
    (gap,) = found.gaps
    assert gap.area_mm2 == pytest.approx(float(areas[hole].sum()), rel=0.2)
    low, _ = passed(found.wall.line, axis([60.0, 72.0], bend_mm))
    assert gap.arc_mm[0] == pytest.approx(low - found.wall.start_mm, abs=2 * CELL_MM)
    assert gap.arc_mm[1] - gap.arc_mm[0] == pytest.approx(12, abs=2 * CELL_MM)
    width = (gap.angle_deg[1] - gap.angle_deg[0]) % 360
    assert width == pytest.approx(math.degrees(1.2), abs=12)
    assert gap.time_s == pytest.approx((66 - 30) / 80 * 59, abs=2.5)
    assert not gap.open_end
    assert gap.sure > 0.99
    lost = float(areas[hole].sum() / (areas[(own > 30) & (own < 110)]).sum())
    assert 1 - found.seen_share == pytest.approx(lost, rel=0.25)


def test_a_hole_over_the_seam_of_the_map_is_one_gap():
    wall, own, angle = tube()
    line = estimated_coverage(wall, wandering(FORTH)).wall.line
    middles = wall.vertices_mm[wall.faces].mean(dim=1)
    here, frame = line.at(line.nearest(middles))
    away = middles - here
    turn = torch.atan2((away * frame[..., 1]).sum(-1), (away * frame[..., 0]).sum(-1))
    coverage = KnownCoverage(wall)
    coverage.looks = ~((own > 60) & (own < 72) & (turn.abs() < 0.5)) * 5
    for place in wandering(FORTH):
        coverage._places.append(place)
        coverage._times.append(0.0)
    (gap,) = coverage.coverage(line).gaps
    assert gap.angle_deg[0] > 300
    assert gap.angle_deg[1] < 60
    assert len(angle) == len(own)


def test_the_wall_behind_a_fold_counts_as_missed():
    # A fold 6 mm high whose back, 6 mm long, no frame has seen.
    wall, own, _ = tube(step=0.5)
    vertices = wall.vertices_mm.clone()
    z = vertices[:, 2]
    height = 6 * (1 - (z - 70).abs() / 6).clamp(min=0)
    vertices[:, :2] *= (1 - height / RADIUS_MM)[:, None]
    folded = type(wall)(vertices_mm=vertices, faces=wall.faces, std_mm=wall.std_mm, seen=wall.seen)
    back = (own > 70) & (own < 76)
    found = estimated_coverage(folded.kept(~back), wandering(FORTH))
    looks = (~back).long()
    line = found.wall.line
    stretch = passed(line, wandering(FORTH))
    true = known_map(folded, looks, line, stretch)
    missed = float((true.area_mm2 - true.seen_mm2).sum())
    assert float((found.wall.area_mm2 - found.wall.seen_mm2).sum()) == pytest.approx(
        missed, rel=0.15
    )
    agree = true.missed == found.wall.missed
    assert agree.mean() > 0.97


def test_what_the_camera_did_not_reach_is_no_gap_and_an_open_end_is_called_so():
    wall, own, _ = tube()
    seen = own < 100  # behind the last place of the camera nothing was looked at
    found = estimated_coverage(wall.kept(seen), wandering(FORTH))
    assert all(gap.open_end for gap in found.gaps)
    assert found.wall.rows * CELL_MM < 90
    assert found.by_stretch()[0]["seen_share"] == pytest.approx(1)


def test_a_known_wall_is_judged_by_rays_for_every_lens():
    wall, own, _ = tube()
    for camera in (
        Camera.pinhole(fx=60.0, fy=56.0, cx=65.5, cy=47.0, height=96, width=128),
        Camera.fisheye(fx=60.0, fy=56.0, cx=65.5, cy=47.0, height=96, width=128),
    ):
        coverage = KnownCoverage(wall)
        for place, second in zip(axis(FORTH), range(60), strict=True):
            coverage.add(camera, rigid_motion(torch.eye(3).double(), place), time_s=second)
        found = coverage.coverage()
        assert found.wall.known
        # Looking along z from 30 to 110, nothing beside or behind the first place is seen.
        ahead = own[coverage.looks > 0].min()
        reach = (
            RADIUS_MM / (camera.rays(96, 128)[..., 2].min().clamp(min=0.05).acos().tan())
        ).item()
        assert 30 < ahead < 30 + reach + 12
        share = float(wall.areas_mm2()[(coverage.looks > 0) & (own < 110) & (own > 30)].sum())
        assert found.seen_share == pytest.approx(share / (2 * math.pi * RADIUS_MM * 80), abs=0.04)
        assert all(gap.sure == 1 for gap in found.gaps)


def test_the_flattened_wall_is_drawn_and_written(tmp_path):
    wall, own, angle = tube()
    hole = (own > 60) & (own < 72) & (angle > 1.0) & (angle < 2.2)
    found = estimated_coverage(wall.kept(~hole), wandering(FORTH))
    write_unrolled(tmp_path / "unrolled.png", {"a tube": found})
    with Image.open(tmp_path / "unrolled.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    orange = np.abs(pixels - np.array([214, 94, 0])).sum(axis=1) < 30
    assert orange.sum() > 100
    write_coverage(tmp_path / "coverage.json", found, made_with={"frames": 60})
    answer = json.loads((tmp_path / "coverage.json").read_text())
    assert answer["gaps"][0]["time_s"] is None  # no times were given
    assert answer["schema"] == 1
    assert "not for diagnosis" in answer["warning"]
    assert answer["by_stretch"][0]["to_mm"] == 10


def test_a_surface_that_was_not_fused_and_a_stretch_beyond_the_line_are_refused():
    wall, _, _ = tube()
    line = lumen_line(wandering(FORTH), wall)
    bare = type(wall)(vertices_mm=wall.vertices_mm, faces=wall.faces)
    with pytest.raises(DataError, match="how often"):
        estimated_map(bare, line, (10.0, 50.0))
    with pytest.raises(DataError, match="no stretch"):
        known_map(wall, torch.ones(len(wall.faces), dtype=torch.int64), line, (10.0, 5000.0))
