"""`colondepth check-data`: is a dataset all there, and was it read as it was meant?"""

from pathlib import Path
from typing import Annotated

import typer

from colondepth.console import err, out, print_json, progress


def check_data(
    path: Annotated[Path, typer.Argument(help="A dataset, a folder of frames, or a video.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path(
        "check-data"
    ),
    dataset: Annotated[
        str | None, typer.Option(help="The dataset's name; told from the files if absent.")
    ] = None,
    camera: Annotated[
        Path | None, typer.Option(help="A camera file in place of the dataset's own.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad files out, and list them.")
    ] = False,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Read so many frames of each clip; all if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Read every frame, test depth against motion, and say what is wrong and how to cure it.

    Writes report.html with a picture of each clip. Exits with 1 if anything is wrong.
    """
    from colondepth.cameras import from_file
    from colondepth.data import open_clips
    from colondepth.data.check_report import summary, write_report
    from colondepth.data.checking import Weight, check_clip, frames_to_read, reading_findings

    reading = open_clips(
        path,
        dataset=dataset,
        camera=None if camera is None else from_file(camera),
        skip_bad=skip_bad,
    )
    total = sum(len(frames_to_read(len(clip), frames)) for clip in reading.clips)
    checks = []
    with progress() as bar:
        task = bar.add_task("Reading frames", total=total)
        for clip in reading.clips:
            bar.update(task, description=f"Reading {clip.name}")
            check = check_clip(clip, most_frames=frames, seen=lambda: bar.advance(task))
            checks.append((clip, check))
    findings = tuple(reading_findings(reading))
    name = f"{path} ({reading.dataset})"
    write_report(folder, name, findings, checks)
    everything = [*findings, *(finding for _, check in checks for finding in check.findings)]
    bad = sum(finding.weight is Weight.BAD for finding in everything)
    if as_json:
        print_json(summary(name, findings, checks))
    else:
        colours = {Weight.BAD: "red", Weight.NOTE: "yellow", Weight.FINE: "green"}
        for finding in everything:
            cure = f" ({finding.cure})" if finding.cure else ""
            out.print(
                f"[{colours[finding.weight]}]{finding.weight:5}[/] ",
                end="",
                highlight=False,
            )
            line = f"{finding.where}: {finding.words}{cure}"
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        clips = f"{len(reading.clips)} clips, {total} frames, {bad} faults"
        out.print(f"{name}: {clips}", markup=False, highlight=False, soft_wrap=True)
    err.print(f"Open {folder / 'report.html'}", highlight=False, soft_wrap=True)
    if bad:
        raise typer.Exit(1)
