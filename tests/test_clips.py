"""Clips and streams: the same frames however they are asked for, and views that hold their word."""

import itertools
from dataclasses import replace

import pytest
import torch

from colondepth.errors import DataError
from colondepth.views import require_view
from synthetic_colons.clips import SyntheticClip, dice
from synthetic_colons.optics import draw_camera
from synthetic_colons.stream import ColonStream

H, W = 40, 52


def clip(level: str, *, frames: int = 12, number: int = 0) -> SyntheticClip:
    return SyntheticClip(level, seed=2, number=number, frames=frames, height=H, width=W)


@pytest.mark.parametrize("level", ["2", "5", "6"])
def test_a_frame_is_the_same_asked_for_alone_or_in_a_row(level):
    alone = clip(level)[7]
    row = clip(level)[5:9]
    assert torch.equal(row[2].view["image"], alone.view["image"])
    assert torch.equal(row[2].view["depth_mm"], alone.view["depth_mm"])
    assert torch.equal(row[2].flow_px, alone.flow_px)


def test_views_hold_what_they_promise_and_poses_are_inside():
    own = clip("5")
    for frame in (own[0], own[6], own[11]):
        require_view(frame.view)
        assert frame.view["valid"].float().mean() > 0.99
        place = frame.view["world_from_camera"][None, :3, 3].float()
        assert own.colon.field(place) > 0.5
    assert own[0].flow_to_previous_px is None
    assert own[11].flow_px is None
    assert own[3].segment in {
        "rectum",
        "sigmoid",
        "descending",
        "transverse",
        "ascending",
        "caecum",
    }


def test_the_clinic_has_a_border_that_is_not_valid():
    shares = []
    for number in range(3):
        frame = clip("6", number=number)[4]
        valid = frame.view["valid"]
        shares.append(float(valid.float().mean()))
        assert (frame.view["depth_mm"][~valid] == 0).all()
    assert min(shares) < 0.9
    assert min(shares) > 0.2


def test_flow_follows_tissue_that_moves_by_itself():
    """Where the wall contracts, the camera alone would be off; where it rests, it is not."""
    own = clip("6")
    assert own.clinic is not None
    still = replace(own.clinic, waves=(), breathing=None)
    frame = own[5]
    own.clinic = still
    own._rendered.clear()
    rest = own[5]
    kept = frame.flow_known & rest.flow_known
    assert kept.any()
    assert (frame.flow_px - rest.flow_px).abs()[kept.expand(2, -1, -1)].median() < 1.5


def test_clips_of_one_seed_differ_and_dice_differ_by_purpose_and_frame():
    one, two = clip("1", number=0), clip("1", number=1)
    assert one.colon.draw != two.colon.draw
    words = itertools.product(("anatomy", "path"), (0, 1), (0, 1))
    seen = [float(torch.rand((), generator=dice("5", 3, n, p, f))) for p, n, f in words]
    assert len(set(seen)) == len(seen)


def test_a_clip_without_frames_is_refused():
    with pytest.raises(DataError, match="0 frames"):
        clip("1", frames=0)


def test_a_batch_can_be_made_again_from_any_start():
    def stream(start: int) -> ColonStream:
        return ColonStream("5", size=(H, W), batch=3, seed=4, start=start, pool=2, pairs=True)

    first = stream(0)
    next(first)
    second = next(first)
    again = next(stream(1))
    for key in ("image", "depth_mm", "flow_px", "world_from_camera"):
        assert torch.equal(again[key], second[key]), key
    assert torch.equal(again["partner"]["image"], second["partner"]["image"])
    assert not torch.equal(next(first)["image"], second["image"])


def test_a_batch_is_a_batch_of_views():
    batch = next(ColonStream("3", size=(H, W), batch=2, seed=1, pool=1))
    keys = ("image", "camera", "valid", "depth_mm", "distance_mm", "normals", "polyp")
    require_view({key: batch[key] for key in keys})
    assert batch["camera"].batch == (2,)


def test_colons_are_renewed_one_after_the_other():
    stream = ColonStream("1", size=(8, 8), batch=1, seed=1, pool=2, batches_a_colon=3)
    members = []
    for number in range(0, 15, 3):
        stream._scene_at(number)
        assert stream._scene is not None
        members.append(set(stream._scene[0]))
    for before, after in itertools.pairwise(members):
        assert len(before & after) >= 1
    assert len(set().union(*members)) >= 4


@pytest.mark.parametrize("bad", [{"size": (0, 4)}, {"batch": 0}, {"pool": 0}])
def test_a_stream_of_nothing_is_refused(bad):
    good = {"size": (8, 8), "batch": 1, "seed": 1}
    with pytest.raises(DataError, match="1 or more"):
        ColonStream("1", **{**good, **bad})


def test_lenses_cover_the_fields_that_scopes_have():
    generator = torch.Generator().manual_seed(3)
    fields = []
    for _ in range(60):
        camera = draw_camera(generator, height=H, width=W, any_lens=True)
        fields.append(float(camera.field_of_view_rad()[2]) * 57.3)
    assert min(fields) < 75
    assert max(fields) > 150
    assert all(50 < field < 180 for field in fields)
