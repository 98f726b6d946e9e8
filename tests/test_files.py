"""Files are written whole or not at all, and images are read as what they are."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from colondepth import images
from colondepth.atomic import written_whole
from colondepth.errors import DataError, ShapeError
from colondepth.images import read_image, write_image


def test_a_block_that_raises_leaves_what_was_there(tmp_path):
    path = tmp_path / "answer.txt"
    path.write_text("old")

    def half_done() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        half_done()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["answer.txt"]


def test_a_block_that_ends_well_makes_folder_and_file_that_others_can_read(tmp_path):
    path = tmp_path / "a" / "b" / "ünïcode and spaces.txt"
    with written_whole(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o444


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with written_whole(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_an_image_that_lies_on_its_side_is_stood_up(tmp_path):
    picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned a quarter
    picture.save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape == (3, 6, 4)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"cannot write .*answer\.txt"),
        written_whole(tmp_path / "file" / "answer.txt"),
    ):
        pass


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_an_image_written_and_read_again_is_the_same_to_half_a_step(tmp_path, suffix):
    image = torch.rand(3, 17, 23, generator=torch.Generator().manual_seed(0))
    image[:, 5, 7] = torch.tensor([1.0, 0, 0])
    write_image(image, tmp_path / f"a{suffix}")
    back = read_image(tmp_path / f"a{suffix}")
    assert back.dtype == torch.float32
    assert_close(back, image, atol=0.5 / 255 + 1e-6, rtol=0)


def test_grey_palette_and_transparent_images_become_rgb(tmp_path):
    grey = Image.fromarray(np.full((4, 5), 128, np.uint8))
    for mode in ("L", "P", "RGBA", "CMYK"):
        grey.convert(mode).save(tmp_path / f"{mode}.{'tiff' if mode == 'CMYK' else 'png'}")
    for file in tmp_path.iterdir():
        assert_close(read_image(file), torch.full((3, 4, 5), 128 / 255), atol=2 / 255, rtol=0)


def test_what_is_no_image_is_said_to_be_none(tmp_path, monkeypatch):
    (tmp_path / "empty.png").write_bytes(b"")
    whole = tmp_path / "whole.png"
    write_image(torch.rand(3, 40, 50), whole)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:900])
    Image.fromarray(np.full((4, 5), 40000, np.uint16)).save(tmp_path / "depth.png")
    for name, message in (
        ("nowhere.png", "does not exist"),
        (".", "is a folder"),
        ("empty.png", "cannot be read"),
        ("half.png", "cannot be read"),
        ("depth.png", "more than 8 bits"),
    ):
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / name)
    monkeypatch.setattr(images, "LARGEST_PIXELS", 1000)
    with pytest.raises(DataError, match="50x40 pixels"):
        read_image(whole)


def test_only_colours_can_be_written(tmp_path):
    with pytest.raises(ShapeError, match="image has shape"):
        write_image(torch.zeros(1, 4, 5), tmp_path / "a.png")
    with pytest.raises(DataError, match="NaN"):
        write_image(torch.full((3, 4, 5), torch.nan), tmp_path / "a.png")
    with pytest.raises(DataError, match="no pixel"):
        write_image(torch.zeros(3, 0, 5), tmp_path / "a.png")
    with pytest.raises(DataError, match="no image format"):
        write_image(torch.zeros(3, 4, 5), tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())
