"""The page and the words of a reconstruction: index.html and README.txt of its folder."""

from html import escape
from math import isnan

from colondepth.atomic import written_whole
from colondepth.pages import facts, figure, rows_table, write_page
from colondepth.reconstruction.coverage import Gap
from colondepth.reconstruction.polyp_tracks import words_of
from colondepth.reconstruction.reconstructing import REPORT, Reconstruction

MOST_GAPS = 12
_FILES = {
    "index.html": "this, as a page with pictures",
    "viewer.html": "the wall to turn with the mouse, in any browser, without a network",
    "wall.ply": "the wall: colours, std_mm (how sure), seen (frames that looked at a place)",
    "wall.glb": "the same with colours, for most viewers",
    "wall.stl": "its shape alone, in mm, for printing",
    "wall.obj": "its shape alone, for other programs",
    "wall_piece_N.ply": "walls of other pieces, which stand in no known place to the largest",
    "coverage.json": "what was seen, along the lumen, and every gap with place, area and time",
    "coverage_known.json": "the same of the mesh that was given, exactly",
    "unrolled.png": "the wall laid flat: seen, seen in one or two frames, missed",
    "polyps.json": "sizes with 95 % intervals, classes, and why there is no answer",
    "trajectory.txt": "where the camera was: t tx ty tz qx qy qz qw, in mm (TUM)",
    "motion.json": "the same for every frame, with pieces and the factor of its depth",
    "outside.png": "the wall from outside",
    "fly_through.mp4": "a flight along the middle of the wall",
    "novel_views.mp4": "a single view seen from places nearby; what it did not show is filled in",
    "anaglyph.png": "a single view for red-cyan glasses",
    "measured.png": "a ball of 5 mm laid on the wall at its depth",
    "depth/": "depth and uncertainty of every frame, as `colondepth predict` writes them",
    "sfm/": "COLMAP's models, without a unit, for its viewer",
    "reconstruct.json": "the settings; the same command goes on in this folder",
}


def write_words(done: Reconstruction) -> None:
    """Write index.html and README.txt."""
    write_page(
        done.folder / REPORT,
        title=f"The wall of {done.made['source']}",
        lead=escape(headline(done)),
        body="".join(_parts(done)),
    )
    there = [
        f"{name}\n    {what}"
        for name, what in _FILES.items()
        if (done.folder / name.rstrip("/")).exists()
        or ("_N" in name and list(done.folder.glob(name.replace("N", "*"))))
    ]
    lines = [
        f"The colon wall from {done.made['source']}",
        "Research software, not for diagnosis.",
        "",
        headline(done),
        *(f"NOTE: {note}" for note in done.notes),
        "",
        *there,
        "",
        *(f"{name}: {value}" for name, value in done.made.items()),
        "",
    ]
    with written_whole(done.folder / "README.txt") as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def headline(done: Reconstruction) -> str:
    """Return what was made, in a line."""
    placed = len(done.motion.of_piece(done.motion.largest))
    words = f"{placed} of {len(done.motion.world_from_camera)} frames"
    if done.wall is not None:
        words += f", {float(done.wall.areas_mm2().sum()) / 100:.0f} cm² of wall"
    if done.coverage is not None:
        missed = sum(not gap.open_end for gap in done.coverage.gaps)
        words += (
            f", {done.coverage.seen_share:.0%} of the wall beside the camera's way seen,"
            f" {missed} gap{'' if missed == 1 else 's'}"
        )
    if done.known is not None:
        words += f"; of the known mesh {done.known.seen_share:.0%} is seen"
    guess = "" if done.camera.calibrated else " The camera is a guess, and so is every length."
    return f"{words}.{guess}"


def _parts(done: Reconstruction) -> list[str]:
    parts = []
    if done.notes:
        items = "".join(f"<li class=note>{escape(note)}" for note in done.notes)
        parts.append(f"<ul class=findings>{items}</ul>")
    if done.wall is not None:
        parts.append(
            "<h2>The wall</h2><p>Drag turns, the wheel zooms, a double click goes inside."
            ' <a href="viewer.html">On a page of its own.</a></p>'
            '<iframe src="viewer.html"></iframe>'
        )
        if (done.folder / "outside.png").exists():
            parts.append(figure("outside.png", "From outside, in the colours of the frames."))
    if done.known is not None and done.coverage is None:
        parts.append("<h2>What was seen</h2><p>Of the known mesh.</p>")
        parts.append(figure("unrolled.png", "Seen, seen badly and missed, by place."))
    if done.coverage is not None:
        parts.append(
            "<h2>What was seen</h2><p>The stretch that the camera passed, laid flat. How much was"
            " missed is a guess; numbers are the gaps below.</p>"
        )
        parts.append(figure("unrolled.png", "Seen, seen badly and missed, by place."))
        gaps = [gap for gap in done.coverage.gaps if not gap.open_end]
        parts.append(_gaps(gaps))
    if done.polyps:
        rows = [(f"{escape(line)}",) for line in words_of(done.polyps)]
        parts.append("<h2>Polyps</h2>" + rows_table(rows))
    pictures = (
        ("measured.png", "A ball of 5 mm laid on the wall at its depth."),
        ("anaglyph.png", "For red-cyan glasses."),
    )
    for name, words in pictures:
        if (done.folder / name).exists():
            parts.append(figure(name, words))
    for name, words in (("fly_through.mp4", "A flight"), ("novel_views.mp4", "Views nearby")):
        if (done.folder / name).exists():
            parts.append(f"<h2>{words}</h2><video src='{name}' controls loop muted></video>")
    made = {name: str(value) for name, value in done.made.items()}
    parts.append("<h2>How this was made</h2>" + facts(made))
    return parts


def _gaps(gaps: list[Gap]) -> str:
    if not gaps:
        return "<p>No gap of 25 mm² or more.</p>"
    rows = [
        (
            "<b>gap</b>",
            "<b>along (mm)</b>",
            "<b>angle (°)</b>",
            "<b>area (mm²)</b>",
            "<b>passed at</b>",
        )
    ]
    for number, gap in enumerate(gaps[:MOST_GAPS], start=1):
        time = f"frame {gap.frame}" if isnan(gap.time_s) else f"{gap.time_s:.1f} s"
        rows.append(
            (
                str(number),
                f"{gap.arc_mm[0]:.0f} to {gap.arc_mm[1]:.0f}",
                f"{gap.angle_deg[0]:.0f} to {gap.angle_deg[1]:.0f}",
                f"{gap.area_mm2:.0f}",
                time,
            )
        )
    rest = len(gaps) - MOST_GAPS
    more = f"<p class=note>And {rest} more, in coverage.json.</p>" if rest > 0 else ""
    return rows_table(rows) + more
