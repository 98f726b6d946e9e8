"""`colondepth deidentify`: a copy without what says whose it is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colondepth.commands.notes import tell_skipped
from colondepth.console import err, out, progress, resumable

if TYPE_CHECKING:
    from colondepth.deidentification import Removed


def deidentify(
    paths: Annotated[
        list[Path], typer.Argument(help="Videos, images, DICOM files, or folders of them.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the copies.")] = Path(
        "deidentified"
    ),
    rename: Annotated[
        bool, typer.Option("--rename", help="Number files and folders; drop their names.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad files out, and list them.")
    ] = False,
) -> None:
    """Blank the border and burnt-in text, drop sound and all metadata, and log what went.

    The folder gets NAME.mp4, NAME.png or NAME.dcm for each file, and beside it its log. Folders
    keep their structure. Names are kept unless --rename is given. Run again, the same command goes
    on where it stopped. No program can promise that nothing identifying is left: look at the
    result.
    """
    from colondepth.data.reading import Opening
    from colondepth.deidentified_folders import make_copy, plan_copies

    opening = Opening(skip_bad=skip_bad)
    jobs = plan_copies(paths, folder, rename=rename, opening=opening)
    with progress() as bar, resumable("finished copies stay; the same command goes on from there"):
        files = bar.add_task("Files", total=len(jobs))
        for job in jobs:
            task = bar.add_task(job.source.name, total=None)

            def seen(total: int, task: int = task) -> None:
                bar.update(task, total=total, advance=1)  # type: ignore[arg-type]

            made = make_copy(job, opening, seen=seen)
            bar.remove_task(task)
            bar.advance(files)
            if made is not None:
                words = f"{job.source} -> {job.target}: {_told(*made)}"
                out.print(words, markup=False, highlight=False, soft_wrap=True)
    tell_skipped(opening.skipped)
    err.print("Look at the copies: no program can promise that nothing identifying is left.")


def _told(removed: "Removed", new: bool) -> str:
    outside = removed.blanked_outside / max(1, removed.pixels)
    parts = [
        f"{removed.frames} frames",
        f"{outside:.1%} border",
        f"{removed.text_share:.2%} text in {removed.frames_with_text} frames",
        f"{len(removed.metadata_keys)} metadata fields",
    ]
    if removed.streams:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(removed.streams.items()))
        parts.append(f"dropped: {kinds}")
    return ", ".join(parts if new else ["was finished before", *parts])
