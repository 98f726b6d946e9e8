"""Best, median and worst frame of a level as one picture: image, truth, prediction, spread."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from colondepth.pictures import Panel, image_panel, values_panel, write_row
from curriculum.shipping_figures import Judged

_GAP_PX = 12  # between rows
_WIDTH_PX = 1200  # of the whole picture: it lies in the repository


def chosen(frames: Sequence[Judged]) -> list[tuple[str, Judged]]:
    """Return best, median and worst frame by AbsRel, each with its word."""
    if not frames:
        raise DataError("there is no frame to show; expected some")
    ordered = sorted(frames, key=lambda each: each.abs_rel)
    places = {"best": 0, "median": (len(ordered) - 1) // 2, "worst": len(ordered) - 1}
    return [(word, ordered[place]) for word, place in places.items()]


def write_pictures(rows: Sequence[tuple[str, Judged]], path: Path) -> None:
    """Write a row for each frame, in one file."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, (word, judged) in enumerate(rows):
            files.append(Path(folder) / f"{number}.png")
            write_row(_panels(word, judged), files[-1])
        pictures = [_trimmed(Image.open(file).convert("RGB")) for file in files]
        height = sum(picture.height for picture in pictures)
        sheet = Image.new("RGB", (max(picture.width for picture in pictures), height), "white")
        top = 0
        for picture in pictures:
            sheet.paste(picture, (0, top))
            top += picture.height
    small = (_WIDTH_PX, round(sheet.height * _WIDTH_PX / sheet.width))
    with written_whole(path) as temporary:
        sheet.resize(small, Image.Resampling.LANCZOS).save(temporary, optimize=True)


def _trimmed(picture: Image.Image) -> Image.Image:
    """Take the white above and below a row away, but for a gap."""
    box = ImageOps.invert(picture.convert("L")).getbbox()
    assert box is not None  # a row has titles
    top, bottom = max(0, box[1] - _GAP_PX), min(picture.height, box[3] + _GAP_PX)
    return picture.crop((0, top, picture.width, bottom))


def _panels(word: str, judged: Judged) -> list[Panel]:
    sample, prediction = judged.sample, judged.prediction
    true_mm, valid = sample.view["depth_mm"], sample.view["valid"]
    known = (true_mm > 0) & valid
    limits = (0.0, float(true_mm[known].max()))
    assert prediction.log_depth_std is not None  # `shipping_figures.answer` has seen to it
    said = f"predicted depth, AbsRel {judged.abs_rel:.3f}"
    return [
        image_panel(f"level {sample.group}, {word}", sample.view["image"]),
        values_panel("true depth", true_mm, known=known, unit="mm", limits=limits),
        values_panel(said, prediction.depth_mm[0], known=valid, unit="mm", limits=limits),
        values_panel(
            "standard deviation of log depth",
            prediction.log_depth_std[0],
            known=valid,
            unit="log depth",
        ),
    ]
