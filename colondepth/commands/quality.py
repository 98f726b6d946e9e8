"""`colondepth quality`: which frames of a video are worth measuring?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colondepth.commands.notes import tell_skipped
from colondepth.console import out, print_json, progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from colondepth.data.quality import Quality
    from colondepth.views import Clip


def quality(
    path: Annotated[Path, typer.Argument(help="A video, a folder of frames, or a dataset.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the tables.")] = Path("quality"),
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad files out, and list them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Judge every frame: blur, exposure, glare, haze, en-face wall, out of body, repeated.

    Writes NAME.csv with every frame and NAME.png with the timeline, for each clip.
    """
    from colondepth.data import open_clips
    from colondepth.data.quality import fault_counts, judge_frames, usable_share
    from colondepth.data.quality_report import write_table, write_timeline

    reading = open_clips(path, skip_bad=skip_bad)
    answer: list[dict[str, Any]] = []
    with progress() as bar:
        for clip in reading.clips:
            task = bar.add_task(f"Judging {clip.name}", total=len(clip))
            judged: list[Quality] = []
            times: list[float | None] = []
            images = _images(clip, times)
            for each in judge_frames(images):
                judged.append(each)
                bar.advance(task)
            write_table(folder / f"{clip.name}.csv", clip.frame_ids, times, judged)
            write_timeline(folder / f"{clip.name}.png", clip.name, judged)
            counts = {str(fault): count for fault, count in fault_counts(judged).items() if count}
            share = round(usable_share(judged), 4)
            answer.append(
                {"clip": clip.name, "frames": len(judged), "usable_share": share, "faults": counts}
            )
    tell_skipped(reading.skipped)
    if as_json:
        print_json(answer)
        return
    for row in answer:
        found = row["faults"]
        listed = ", ".join(f"{name} {count}" for name, count in found.items()) or "no fault"
        words = f"{row['clip']}: {row['usable_share']:.1%} of {row['frames']} frames usable"
        out.print(f"{words}; {listed}", markup=False, highlight=False, soft_wrap=True)
    out.print(f"Tables and timelines are in {folder}", highlight=False, soft_wrap=True)


def _images(clip: "Clip", times: list[float | None]) -> "Iterator[Tensor]":
    """Give the images one by one and note the times on the way."""
    for view in clip:
        times.append(view.get("time_s"))
        yield view["image"]
