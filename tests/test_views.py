"""What flows: views, clips, batches and predictions keep their promises."""

import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from scenes import H, W, at, cameras

from colondepth.cameras import Camera
from colondepth.errors import DataError, ShapeError
from colondepth.views import Clip, Prediction, View, collate_views, require_view


def view(number: int = 0, **changes) -> View:
    generator = torch.Generator().manual_seed(number)
    made = View(
        image=torch.rand(3, H, W, generator=generator),
        camera=cameras()["fisheye"],
        depth_mm=torch.rand(1, H, W, generator=generator) * 50,
        valid=torch.rand(1, H, W, generator=generator) > 0.1,
        world_from_camera=at(number, 0, 0),
        frame_id=f"{number:04d}",
        time_s=number / 25,
    )
    return {**made, **changes}


def clip(length: int = 5) -> tuple[Clip, list[int]]:
    opened: list[int] = []

    def read(number: int) -> View:
        opened.append(number)
        return view(number)

    names = [f"frame_{number}" for number in range(length)]
    return Clip(read, names, camera=cameras()["fisheye"], name="ascending"), opened


def test_a_sound_view_passes_alone_and_in_a_batch():
    require_view(view())
    require_view(collate_views([view(0), view(1), view(2)]))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"image": torch.zeros(3, H, W, dtype=torch.uint8)}, DataError, "image holds uint8"),
        ({"image": torch.full((3, H, W), 200.0)}, DataError, "divide 8 bits by 255"),
        ({"image": torch.full((3, H, W), torch.nan)}, DataError, "NaN"),
        ({"image": torch.zeros(1, H, W)}, ShapeError, "image has shape"),
        ({"camera": torch.eye(3)}, DataError, "Camera.assumed"),
        ({"camera": Camera.assumed(H, W + 1)}, ShapeError, "resized"),
        ({"depth_mm": torch.full((1, H, W), -1.0)}, DataError, "unknown is 0"),
        ({"depth_mm": torch.zeros(H, W)}, ShapeError, "depth_mm has shape"),
        ({"depth_mm": torch.zeros(1, H, W + 2)}, ShapeError, "depth_mm has shape"),
        ({"valid": torch.ones(1, H, W)}, DataError, "expected bool"),
        ({"inside": torch.ones(1, H, W + 1, dtype=torch.bool)}, ShapeError, "inside has shape"),
        ({"inside": torch.ones(1, H, W)}, DataError, "inside holds float32, expected bool"),
        ({"normals": torch.ones(3, H, W)}, DataError, "lengths up to 1.73"),
        ({"world_from_camera": torch.eye(4).expand(5, 4, 4)}, ShapeError, "one batch, found"),
        ({"camera": collate_views([view(), view()])["camera"]}, ShapeError, "one batch, found"),
        ({"world_from_camera": torch.full((4, 4), torch.nan)}, DataError, "world_from_camera"),
        ({"world_from_camera": torch.diag(torch.tensor([1.0, 1, -1, 1]))}, DataError, "hand"),
    ],
)
def test_a_view_that_breaks_a_promise_is_told_which(changes, error, message):
    with pytest.raises(error, match=message):
        require_view(view(**changes))


def test_a_view_without_image_or_camera_is_none():
    with pytest.raises(DataError, match=r"lacks \['image'\]"):
        require_view({"camera": Camera.assumed(H, W)})


def test_a_batch_stacks_tensors_and_cameras_and_lists_words():
    batch = collate_views([view(3), view(4)])
    assert batch["image"].shape == (2, 3, H, W)
    assert batch["camera"].batch == (2,)
    assert batch["frame_id"] == ["0003", "0004"]
    assert batch["time_s"].tolist() == [3 / 25, 4 / 25]
    assert collate_views([view(time_s=0), view(time_s=0.5)])["time_s"].tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([], "no view"),
        ([view(), {k: v for k, v in view().items() if k != "valid"}], r"keys \['valid'\]"),
        ([view(), view(image=torch.zeros(3, H, W + 1))], "resize the views first"),
        ([view(), view(camera=cameras()["pinhole"])], "one kind and one size"),
        ([view(), view(valid=None)], "valid is a tensor in some"),
    ],
)
def test_views_that_make_no_batch_say_why(views, message):
    with pytest.raises((DataError, ShapeError), match=message):
        collate_views(views)


def test_a_clip_reads_a_view_only_when_it_is_asked_for():
    frames, opened = clip()
    part = frames[1:4:2]
    assert (len(frames), len(part), opened) == (5, 2, [])
    assert part[1]["frame_id"] == "frame_3"
    assert opened == [3]
    assert frames[-1]["time_s"] == 4 / 25
    assert [v["frame_id"] for v in frames[::-1]] == [f"frame_{n}" for n in (4, 3, 2, 1, 0)]


def test_a_clip_ends():
    with pytest.raises(IndexError):
        clip()[0][5]


def test_a_clip_without_frames_or_with_twins_is_refused():
    for names, message in ([], "no frame"), (["a", "b", "a"], "two frames called 'a'"):
        with pytest.raises(DataError, match=message):
            Clip(lambda _: view(), names, camera=cameras()["fisheye"], name="x")


def test_a_slice_of_a_clip_travels_between_processes():
    frames = Clip(view, ["a", "b", "c", "d"], camera=cameras()["fisheye"], name="x")[1:][::2]
    back = pickle.loads(pickle.dumps(frames))
    assert [v["time_s"] for v in back] == [1 / 25, 3 / 25]
    assert [v["frame_id"] for v in back] == ["b", "d"]


def test_a_view_travels_between_processes():
    back = pickle.loads(pickle.dumps(view()))
    assert torch.equal(back["camera"].rays(H, W), view()["camera"].rays(H, W))


def test_a_prediction_is_frozen_and_its_parts_fit_together():
    depth_mm = torch.ones(2, 1, H, W)
    made = Prediction(depth_mm=depth_mm, flow_px=torch.zeros(2, 2, H, W))
    with pytest.raises(FrozenInstanceError):
        made.depth_mm = depth_mm
    with pytest.raises(ShapeError, match="flow_px"):
        Prediction(depth_mm=depth_mm, flow_px=torch.zeros(2, 2, H, W + 1))
    with pytest.raises(ShapeError, match="log_depth_std"):
        Prediction(depth_mm=depth_mm, log_depth_std=torch.zeros(3, 1, H, W))
    with pytest.raises(DataError, match="valid"):
        Prediction(depth_mm=depth_mm, valid=torch.ones(2, 1, H, W))
    with pytest.raises(ShapeError, match="coarser_depth_mm"):
        Prediction(depth_mm=depth_mm, coarser_depth_mm=(torch.ones(3, 1, 9, 12),))
    with pytest.raises(ShapeError, match=r"label_logits has shape \(3, 8, 9, 12\)"):
        Prediction(depth_mm=depth_mm, label_logits=torch.zeros(3, 8, 9, 12))
    with pytest.raises(ShapeError, match="two channels a label"):
        Prediction(depth_mm=depth_mm, label_logits=torch.zeros(2, 7, 9, 12))
    with pytest.raises(DataError, match="label_logits"):
        Prediction(depth_mm=depth_mm, label_logits=torch.zeros(2, 8, 9, 12, dtype=torch.int64))
    assert (
        Prediction(depth_mm=depth_mm, label_logits=torch.zeros(2, 8, 9, 12)).label_logits
        is not None
    )
