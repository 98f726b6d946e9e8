"""Depth maps of other programs are read in their unit, matched one to one, or refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from colondepth.errors import DataError
from evaluation.prediction_maps import (
    NEGATIVE,
    NOT_FINITE,
    UNREADABLE,
    WRONG_FORM,
    WRONG_SIZE,
    MapError,
    PredictionMaps,
)

SIZE = (5, 7)
FRAMES = ("0009", "0010", "0011")
DEPTH = np.arange(35, dtype=np.float64).reshape(SIZE) * 3 + 2


def save(path: Path, values: np.ndarray = DEPTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def maps_of(root: Path, names: tuple[str, ...] = FRAMES, suffix: str = ".npy") -> PredictionMaps:
    for number, name in enumerate(names):
        save(root / f"{name}{suffix}", DEPTH + number)
    return PredictionMaps(root, 1.0)


def matched(root: Path, *, name="S5", frames=FRAMES, alone=True, skip_bad=False):
    maps = PredictionMaps(root, 1.0)
    return maps.of_clip(name, frames, alone=alone, skip_bad=skip_bad)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", DEPTH.astype(np.uint16)),
        ("a.tif", DEPTH.astype(np.uint16)),
        ("a.tiff", DEPTH.astype(np.float32)),
        ("a.npy", DEPTH),
        ("a.npy", DEPTH.astype(np.float16)),
        ("a.npy", DEPTH.astype(np.int32)),
        ("a.npy", DEPTH[None].astype(np.float32)),
        ("a.npy", DEPTH[..., None]),
    ],
)
def test_every_form_is_read_in_its_unit(tmp_path: Path, name: str, values: np.ndarray) -> None:
    path = save(tmp_path / name, values)
    depth_mm = PredictionMaps(tmp_path, 0.25).read(path, sizes=[(99, 98), SIZE])
    assert_close(depth_mm, torch.from_numpy(DEPTH * 0.25).float()[None])


def with_value(value: float) -> np.ndarray:
    values = DEPTH.copy()
    values[3, 4] = value
    return values


@pytest.mark.parametrize(
    ("name", "values", "why", "words"),
    [
        ("a.npy", with_value(np.nan), NOT_FINITE, "1 values"),
        ("a.npy", with_value(np.inf), NOT_FINITE, "1 values"),
        ("a.npy", with_value(-0.5), NEGATIVE, "down to -0.5"),
        ("a.npy", DEPTH.T, WRONG_SIZE, "7x5, expected 5x7"),
        ("a.npy", DEPTH.astype(complex), WRONG_FORM, "complex128"),
        ("a.npy", np.stack([DEPTH] * 3), WRONG_FORM, r"\(3, 5, 7\)"),
        ("a.png", DEPTH.astype(np.uint8), WRONG_FORM, "8 bits"),
        ("a.png", np.stack([DEPTH.astype(np.uint8)] * 3, axis=-1), WRONG_FORM, "8 bits"),
    ],
)
def test_what_cannot_be_scored_says_why(tmp_path, name, values, why, words) -> None:
    path = save(tmp_path / name, values)
    with pytest.raises(MapError, match=words) as raised:
        PredictionMaps(tmp_path, 1.0).read(path, sizes=[SIZE])
    assert raised.value.why == why
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.npy"])
def test_a_broken_file_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x93NUMPY no")
    with pytest.raises(MapError) as raised:
        PredictionMaps(tmp_path, 1.0).read(tmp_path / name, sizes=[SIZE])
    assert raised.value.why == UNREADABLE


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(MapError, match="cannot be read"):
        PredictionMaps(tmp_path, 1.0).read(path, sizes=[SIZE])


@pytest.mark.parametrize("place", ["S5/depth", "S5", "depth", "."])
def test_maps_are_found_where_programs_put_them(tmp_path: Path, place: str) -> None:
    maps_of(tmp_path / place)
    found = matched(tmp_path)
    assert [path.name for path in found.paths.values()] == [f"{name}.npy" for name in FRAMES]
    assert not found.missing
    assert not found.by_number


def test_maps_in_the_root_are_nobodys_where_there_are_several_clips(tmp_path: Path) -> None:
    maps_of(tmp_path)
    with pytest.raises(DataError, match="no predicted maps of clip 'S5'"):
        matched(tmp_path, alone=False)


def test_names_that_differ_are_matched_by_their_number(tmp_path: Path) -> None:
    maps_of(tmp_path, ("depth2_11", "depth2_9", "depth2_10"))
    found = matched(tmp_path)
    assert found.by_number
    assert {frame: path.stem for frame, path in found.paths.items()} == {
        "0009": "depth2_9",
        "0010": "depth2_10",
        "0011": "depth2_11",
    }


def test_a_name_that_fits_keeps_numbers_from_being_guessed(tmp_path: Path) -> None:
    maps_of(tmp_path, ("0009", "x_10", "x_11"))
    with pytest.raises(DataError, match=r"2 of 3 frames of 'S5' have no predicted map: 0010, 0011"):
        matched(tmp_path)


def test_missing_and_spare_maps_are_errors_or_listed(tmp_path: Path) -> None:
    maps_of(tmp_path, ("0009", "0011", "0012"))
    with pytest.raises(DataError, match=r"1 of 3 frames .* 0010; --skip-bad"):
        matched(tmp_path)
    found = matched(tmp_path, skip_bad=True)
    assert found.missing == ("0010",)
    assert [path.stem for path in found.spare] == ["0012"]
    with pytest.raises(DataError, match=r"3 maps, but 2 frames .* 0012.npy have no frame"):
        matched(tmp_path, frames=("0009", "0011"))


def test_two_maps_for_one_frame_are_refused(tmp_path: Path) -> None:
    maps_of(tmp_path)
    save(tmp_path / "0010.tiff", DEPTH.astype(np.float32))
    with pytest.raises(DataError, match="one map a frame"):
        matched(tmp_path)


def test_names_without_numbers_are_refused(tmp_path: Path) -> None:
    maps_of(tmp_path, ("first", "second", "third"))
    with pytest.raises(DataError, match="called like a frame"):
        matched(tmp_path)


def test_a_folder_that_is_none_and_a_unit_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        PredictionMaps(tmp_path / "no", 1.0)
    with pytest.raises(DataError, match="is a file"):
        PredictionMaps(save(tmp_path / "a.npy"), 1.0)
    for unit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="1000 for metres"):
            PredictionMaps(tmp_path, unit)


def test_the_digest_knows_another_map(tmp_path: Path) -> None:
    maps = maps_of(tmp_path)
    before = maps.digest()
    assert maps.digest() == before
    save(tmp_path / "0010.npy", DEPTH[:, :3])
    assert maps.digest() != before
