"""Still Box: the displacement's bookkeeping, the depth behind it, and the published files."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from colondepth.errors import DataError
from colondepth.geometry import pixels_from_flow, rigid_flow
from colondepth.motion import inverse, transform
from colondepth.views import require_view
from colondepth.warping import Lookup, sample, warp
from synthetic_colons.worlds.shapes import Solid, SolidKind
from synthetic_colons.worlds.sights import see
from synthetic_colons.worlds.still_box import (
    NOMINAL_DISPLACEMENT_MM,
    StillBoxSettings,
    draw_still_boxes,
    still_box_pairs,
)
from synthetic_colons.worlds.still_box_files import open_still_box, write_still_box

SETTINGS = StillBoxSettings(height=48, width=64)
ROTATED = StillBoxSettings(
    height=40, width=56, frames=5, field_of_view_rad=1.2, fastest_turn_rad_per_s=0.8
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Maps this small gain nothing from threads, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_pair_is_the_same_pixel_by_pixel_in_every_batch():
    together = still_box_pairs(SETTINGS, (3, 11, 6), seed=2)
    alone = still_box_pairs(SETTINGS, (11,), seed=2)
    for name, value in alone.items():
        if name != "camera":
            assert torch.equal(value[0], together[name][1]), name
    other = still_box_pairs(SETTINGS, (11,), seed=3)
    assert not torch.equal(other["image"], alone["image"])


def test_displacement_is_speed_times_frames_times_their_time():
    pairs = still_box_pairs(SETTINGS, range(40), seed=1, largest_shift=4)
    boxes = draw_still_boxes(SETTINGS, range(40), seed=1)
    expected = boxes.velocity_mm_per_s * 0.1 * pairs["shift"][:, None]
    assert_close(pairs["displacement_mm"], expected, atol=1e-2, rtol=1e-5)
    assert_close(pairs["displacement_mm"].norm(dim=-1), 100.0 * pairs["shift"].abs())
    assert set(pairs["shift"].tolist()) == {-4, -3, -2, -1, 1, 2, 3, 4}
    # From the older camera into the reference's, a still point moves by minus the displacement.
    moved = transform(pairs["reference_from_previous"], torch.zeros(40, 3))
    assert_close(moved, -pairs["displacement_mm"], atol=1e-2, rtol=1e-5)
    assert NOMINAL_DISPLACEMENT_MM == 3 * 100


def test_both_frames_of_a_pair_belong_to_the_scene():
    pairs = still_box_pairs(SETTINGS, range(60), seed=1)
    velocity = draw_still_boxes(SETTINGS, range(60), seed=1).velocity_mm_per_s
    reference = (pairs["world_from_camera"][:, :3, 3] * velocity).sum(dim=-1) / 1000**2 / 0.1
    assert_close(reference, reference.round(), atol=1e-3, rtol=0)
    for frame in (reference, reference - pairs["shift"]):
        assert frame.min() > -0.01
        assert frame.max() < 19.01


def test_depth_is_that_of_a_solid_asked_one_by_one():
    boxes = draw_still_boxes(SETTINGS, (0, 7), seed=5, dtype=torch.float64)
    frame = torch.tensor([2, 17])
    sight = boxes.see(frame)
    scene, at = boxes.scene, boxes.world_from_camera(frame)
    rays = SETTINGS.camera().rays(48, 64)
    for item, row, column in [(0, 5, 9), (0, 30, 50), (1, 44, 3), (1, 20, 33)]:
        ray = rays[row, column]
        hits = [
            Solid(
                kind=kind,
                centre_mm=scene.centre_mm[item, number],
                world_from_solid=scene.world_from_solid[item, number],
                half_mm=scene.half_mm[item, number],
            )
            .distance_mm(at[item, :3, 3], at[item, :3, :3] @ ray)
            .item()
            for number, kind in enumerate(scene.kinds)
            if scene.present[item, number]
        ]
        assert sight.depth_mm[item, 0, row, column].item() == pytest.approx(min(hits) * ray[2])


def test_the_older_image_shows_through_depth_and_motion_what_the_reference_shows():
    pairs = still_box_pairs(SETTINGS, range(12), seed=4)
    found, lands = warp(
        pairs["previous"],
        pairs["depth_mm"],
        pairs["camera"],
        inverse(pairs["reference_from_previous"]),
    )
    seen = lands & pairs["flow_to_previous_known"]
    off = (found - pairs["image"]).abs().mean(dim=1, keepdim=True)
    unmoved = (pairs["previous"] - pairs["image"]).abs().mean(dim=1, keepdim=True)
    assert off[seen].median() < 0.01
    assert off[seen].mean() < 0.2 * unmoved[seen].mean()


def test_flow_is_that_of_depth_and_motion_and_known_where_the_older_camera_saw():
    pairs = still_box_pairs(SETTINGS, range(12), seed=4, dtype=torch.float64)
    previous_from_reference = inverse(pairs["reference_from_previous"])
    flow, lands = rigid_flow(pairs["depth_mm"], pairs["camera"], previous_from_reference)
    both = lands.expand_as(flow)
    assert_close(pairs["flow_to_previous_px"][both], flow[both], atol=1e-6, rtol=1e-6)
    assert not bool((pairs["flow_to_previous_known"] & ~lands).any())
    # Against the older camera's own depth map: a known point is the surface that it saw.
    boxes = draw_still_boxes(SETTINGS, range(12), seed=4, dtype=torch.float64)
    at = pairs["world_from_camera"] @ pairs["reference_from_previous"]
    older = see(boxes.scene, SETTINGS.camera(), at).depth_mm
    pixels = pixels_from_flow(pairs["flow_to_previous_px"])
    looked_up, _ = sample(older, pixels, lookup=Lookup.NEAREST)
    rays = SETTINGS.camera().rays(48, 64)
    points = pairs["depth_mm"][:, 0, ..., None] * rays / rays[..., 2:]
    expected = transform(previous_from_reference, points)[..., 2][:, None]
    same = (looked_up / expected - 1).abs() < 0.1
    known = pairs["flow_to_previous_known"]
    hidden = lands & ~known
    assert same[known].double().mean() > 0.98
    assert same[hidden].double().mean() < 0.3
    assert hidden.double().mean() > 0.002


def test_nothing_stands_in_the_way_and_every_ray_meets_something():
    boxes = draw_still_boxes(SETTINGS, range(40), seed=9)
    for frame in (0, 10, 19):
        distance = boxes.see(torch.full((40,), frame)).distance_mm
        assert distance.min() > 0.99 * SETTINGS.clearance_mm


def test_edges_look_as_if_many_rays_had_been_shot():
    boxes = draw_still_boxes(SETTINGS, range(6), seed=6)
    at = boxes.world_from_camera(torch.full((6,), 3))
    image = see(boxes.scene, SETTINGS.camera(), at).image
    fine = see(boxes.scene, SETTINGS.camera().resized(3 * 48, 3 * 64), at)
    many = torch.nn.functional.avg_pool2d(fine.image, 3)
    one = fine.image[..., 1::3, 1::3]
    solid = fine.solid.double()
    low, high = (
        -torch.nn.functional.max_pool2d(-solid, 3),
        torch.nn.functional.max_pool2d(solid, 3),
    )
    edge = (low != high).expand_as(image)
    assert edge.double().mean() > 0.02
    # Beyond what textures are off by everywhere, because they fade instead of being averaged.
    ours, theirs = (image - many).abs(), (one - many).abs()
    excess, single = (
        ours[edge].mean() - ours[~edge].mean(),
        theirs[edge].mean() - theirs[~edge].mean(),
    )
    assert excess < 0.5 * single
    assert ours[~edge].mean() < 0.15 * image.std()


def test_one_image_says_nothing_about_depth():
    # The same scene at thrice the size, from places thrice as far: the same picture.
    boxes = draw_still_boxes(SETTINGS, (1, 2), seed=6, dtype=torch.float64)
    factor = torch.tensor([3.0, 0.5], dtype=torch.float64)
    at = boxes.world_from_camera(torch.tensor([4, 15]))
    far = at.clone()
    far[:, :3, 3] *= factor[:, None]
    small = see(boxes.scene, SETTINGS.camera(), at)
    large = see(boxes.scene.scaled(factor), SETTINGS.camera(), far)
    assert_close(large.image, small.image, atol=1e-6, rtol=0)
    assert_close(large.depth_mm, small.depth_mm * factor[:, None, None, None])


def test_the_camera_turns_in_the_rotated_set_only():
    frame = torch.tensor([4, 4])
    still = draw_still_boxes(SETTINGS, (1, 2), seed=6).world_from_camera(frame)
    assert torch.equal(still[:, :3, :3], torch.eye(3).expand(2, 3, 3))
    turned = draw_still_boxes(ROTATED, (1, 2), seed=6).world_from_camera(frame)
    cosine = (turned[:, :3, :3].diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    assert bool((cosine < 0.9999).all())
    assert bool((cosine.arccos() <= 0.8 * 0.4 + 1e-5).all())


def test_a_view_of_a_pair_is_a_view_as_the_house_defines_it():
    pairs = still_box_pairs(SETTINGS, (0, 1), seed=1)
    names = ("image", "camera", "depth_mm", "valid", "normals", "world_from_camera")
    require_view({name: pairs[name] for name in names})
    assert bool(pairs["valid"].all())


@pytest.mark.parametrize("settings", [SETTINGS, ROTATED])
def test_written_scenes_are_read_by_others_as_they_were_made(settings, tmp_path):
    folder = tmp_path / "set" / "a"
    scenes = 1 if settings is SETTINGS else 2
    write_still_box(settings, folder, scenes=range(7, 7 + scenes), seed=3)
    # As the author's own loaders read it: json, numpy, an image library and arithmetic.
    metadata = json.loads((folder / "metadata.json").read_text())
    width, height = metadata["args"]["resolution"]
    focal = width / (2 * math.tan(math.pi * metadata["args"]["fov"] / 360))
    assert (height, width) == (settings.height, settings.width)
    assert focal == pytest.approx(settings.camera().linear[0, 0].item())
    scene = metadata["scenes"][-1]
    number = scenes - 1
    assert scene["imgs"][3] == f"RGB_{number:04d}_03.jpg"
    assert math.hypot(*scene["speed"]) == pytest.approx(1)
    boxes = draw_still_boxes(settings, (7 + number,), seed=3)
    sight = boxes.see(torch.tensor([3]))
    depth_m = np.load(folder / scene["depth"][3])
    assert depth_m.dtype == np.float32
    np.testing.assert_allclose(depth_m, sight.depth_mm[0, 0].numpy() / 1000, rtol=1e-6)
    pixels = np.asarray(Image.open(folder / scene["imgs"][3]), dtype=np.float32) / 255
    assert np.abs(pixels - sight.image[0].movedim(0, -1).numpy()).mean() < 0.03
    displacement = np.array(scene["speed"]) * 3 * scene["time_step"]
    at = boxes.world_from_camera(torch.tensor([3]))[0].numpy()
    np.testing.assert_allclose(displacement * 1000, at[:3, 3], rtol=1e-5, atol=1e-2)
    if settings is SETTINGS:
        assert scene["orientation"] == []
    else:
        w, x, y, z = scene["orientation"][3]
        np.testing.assert_allclose(2 * (x * y - w * z), at[0, 1], atol=1e-6)
        np.testing.assert_allclose(2 * (x * z - w * y), at[2, 0], atol=1e-6)


def test_written_scenes_come_back_as_clips(tmp_path):
    write_still_box(ROTATED, tmp_path, scenes=(4, 2), seed=3)
    clips = open_still_box(tmp_path)
    assert [len(clip) for clip in clips] == [5, 5]
    view = clips[1][2]
    require_view(view)
    boxes = draw_still_boxes(ROTATED, (2,), seed=3)
    assert_close(view["depth_mm"], boxes.see(torch.tensor([2])).depth_mm[0])
    at = boxes.world_from_camera(torch.tensor([2]))[0]
    assert_close(view["world_from_camera"], at, atol=1e-3, rtol=1e-5)
    assert view["frame_id"] == "RGB_0001_02"
    assert view["time_s"] == pytest.approx(0.2)
    times = [clip["time_s"] for clip in clips[0]]
    assert all(later > earlier for earlier, later in pairwise(times))


def test_a_folder_that_was_not_finished_has_no_metadata(tmp_path):
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_still_box(ROTATED, tmp_path / "a", scenes=(1, 2), seed=3, after_scene=stop)
    with pytest.raises(DataError, match=r"metadata.json does not exist"):
        open_still_box(tmp_path / "a")
    with pytest.raises(DataError, match="nothing is overwritten"):
        write_still_box(ROTATED, tmp_path / "a", scenes=(1,), seed=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["args"].pop("fov"), "KeyError 'fov'"),
        (lambda m: m["scenes"].clear(), "has no scene"),
        (lambda m: m["scenes"][0]["depth"].pop(), "5 images and 4 depth maps"),
        (lambda m: m["scenes"][0]["orientation"].pop(), "4 orientations for 5 frames"),
        (lambda m: m["args"].update(resolution=[20, 40]), r"says \(40, 20\)"),
        (lambda m: m["scenes"][0]["depth"].__setitem__(0, "gone.npy"), "gone.npy does not exist"),
    ],
)
def test_metadata_that_do_not_fit_are_refused_by_name(change, message, tmp_path):
    write_still_box(ROTATED, tmp_path / "a", scenes=(1,), seed=3)
    path = tmp_path / "a" / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))
    with pytest.raises(DataError, match=message):
        _ = open_still_box(tmp_path / "a")[0][0]
    with pytest.raises(DataError, match=r"open one of \['a'\]"):
        open_still_box(tmp_path)


def test_settings_without_room_for_the_flight_say_how_much_is_needed():
    with pytest.raises(DataError, match="smallest_half_mm above 2500"):
        StillBoxSettings(height=48, width=64, smallest_half_mm=2000)
    with pytest.raises(DataError, match=r"90 degrees are 1\.5708"):
        StillBoxSettings(height=48, width=64, field_of_view_rad=90)
    with pytest.raises(DataError, match="from 1 to 19"):
        still_box_pairs(SETTINGS, (1,), seed=1, largest_shift=20)


def test_solids_of_all_kinds_are_seen():
    boxes = draw_still_boxes(SETTINGS, range(20), seed=9)
    seen = boxes.see(torch.zeros(20)).solid.unique().tolist()
    assert -1 not in seen
    assert {boxes.scene.kinds[number] for number in seen} == set(SolidKind)
    assert len(seen) >= len(boxes.scene.kinds) - 2
