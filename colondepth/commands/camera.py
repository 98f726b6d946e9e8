"""`colondepth camera`: look at a calibration, rewrite it, and straighten images with it."""

from math import degrees, radians
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from colondepth.commands.notes import TextWatch
from colondepth.commands.sizes import image_size
from colondepth.console import out, print_json, progress
from colondepth.errors import DataError

if TYPE_CHECKING:
    from colondepth.cameras import Camera

app = typer.Typer(no_args_is_help=True, help="Look at a calibration, rewrite it, undistort images.")

FormName = Literal["json", "opencv", "c3vd", "simcol3d"]  # CameraForm would import torch

CameraFile = Annotated[
    Path, typer.Argument(help="JSON, OpenCV YAML or XML, or the text of C3VD or SimCol3D.")
]
Size = Annotated[
    str | None, typer.Option(help="HEIGHTxWIDTH of the images, for files that do not say.")
]


@app.command()
def show(
    camera: CameraFile,
    size: Size = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Say what a camera file holds: lens, focal lengths, centre, field of view."""
    from rich.table import Table

    facts = _facts(_read(camera, size))
    if as_json:
        print_json(facts)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _written(value))
    out.print(table, highlight=False)


@app.command()
def convert(
    camera: CameraFile,
    output: Annotated[Path, typer.Argument(help="Where to write it; .json and .yaml name forms.")],
    form: Annotated[
        FormName | None,
        typer.Option("--to", help="Form of OUTPUT; told from its suffix if absent."),
    ] = None,
    size: Size = None,
) -> None:
    """Write a camera in another program's form."""
    from colondepth.cameras import CameraForm, to_file

    to_file(_read(camera, size), output, form=CameraForm(form) if form else None)
    out.print(f"{camera} -> {output}", highlight=False, soft_wrap=True)


@app.command()
def undistort(
    images: Annotated[list[Path], typer.Argument(help="Image files of one size.")],
    camera: Annotated[Path, typer.Option(help="The camera that took them.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the straightened images.")],
    field_deg: Annotated[
        float, typer.Option("--field", help="Angle across the new width, degrees.")
    ] = 90.0,
    size: Size = None,
) -> None:
    """Straighten images into what an ideal pinhole camera would have seen.

    The folder gets NAME.png for each image and the new camera as camera.json.
    """
    from colondepth.cameras import from_file, to_file
    from colondepth.images import read_image, write_image
    from colondepth.undistortion import pinhole_for, undistort_image

    names = [image.stem for image in images]
    if len(set(names)) < len(names):
        raise DataError("two images have one name; the folder holds NAME.png once")
    source = from_file(camera, size=None if size is None else image_size(size, such_as="475x475"))
    target = pinhole_for(
        source, field_rad=radians(field_deg), height=source.height, width=source.width
    )
    watch = TextWatch()
    with progress() as bar:
        for image in bar.track(images, description="Undistorting"):
            pixels = read_image(image)
            watch.look(pixels)
            straight, _ = undistort_image(pixels, source, target)
            write_image(straight, folder / f"{image.stem}.png")
    to_file(target, folder / "camera.json")
    watch.tell()
    out.print(f"{len(images)} images and camera.json -> {folder}", highlight=False, soft_wrap=True)


def _read(path: Path, size: str | None) -> "Camera":
    from colondepth.cameras import from_file

    return from_file(path, size=None if size is None else image_size(size, such_as="475x475"))


def _facts(camera: "Camera") -> dict[str, Any]:
    across, down, diagonal = (
        round(degrees(angle.item()), 3) for angle in camera.field_of_view_rad()
    )
    return {
        "lens": type(camera.lens).__name__.lower(),
        "height": camera.height,
        "width": camera.width,
        "linear_px": camera.linear.tolist(),
        "centre_px": camera.centre.tolist(),
        "parameters": camera.lens.parameters().tolist(),
        "field_of_view_deg": {"width": across, "height": down, "diagonal": diagonal},
        "calibrated": camera.calibrated,
    }


def _written(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in value.items())
    if isinstance(value, list):
        return f"[{', '.join(_written(entry) for entry in value)}]"
    return f"{value:.9g}" if isinstance(value, float) else str(value)
