"""`colondepth deidentify`: a copy without what says whose it is."""

from pathlib import Path
from typing import Annotated

import typer

from colondepth.console import err, out, progress
from colondepth.errors import DataError


def deidentify(
    paths: Annotated[list[Path], typer.Argument(help="Videos and images.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the copies.")] = Path(
        "deidentified"
    ),
) -> None:
    """Blank the border and burnt-in text, drop sound and all metadata, and log what went.

    The folder gets NAME.mp4 or NAME.png and NAME.removed.json for each file; file names are kept,
    so rename files that are called after patients. No program can promise that nothing
    identifying is left: look at the result.
    """
    from colondepth.data.rasters import IMAGE_SUFFIXES
    from colondepth.deidentified_files import deidentify_image, deidentify_video

    targets = []
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is not a file; expected a video or an image")
        still = path.suffix.lower() in IMAGE_SUFFIXES
        targets.append(folder / f"{path.stem}{'.png' if still else '.mp4'}")
    if len(set(targets)) < len(targets):
        raise DataError("two files would get one name; deidentify them into different folders")
    with progress() as bar:
        for path, target in zip(paths, targets, strict=True):
            task = bar.add_task(path.name, total=1)
            if target.suffix == ".png":
                removed = deidentify_image(path, target)
                bar.advance(task)
            else:

                def seen(total: int, task: int = task) -> None:
                    bar.update(task, total=total, advance=1)  # type: ignore[arg-type]

                removed = deidentify_video(path, target, seen=seen)
            outside = removed.blanked_outside / max(1, removed.pixels)
            kinds = ", ".join(f"{count} {kind}" for kind, count in removed.streams.items())
            words = (
                f"{path.name} -> {target}: {removed.frames} frames, {outside:.1%} border,"
                f" {removed.text_share:.2%} text in {removed.frames_with_text} frames,"
                f" {len(removed.metadata_keys)} metadata fields"
                + (f", {kinds} streams" if kinds else "")
            )
            out.print(words, markup=False, highlight=False, soft_wrap=True)
    err.print("Look at the copies: no program can promise that nothing identifying is left.")
