"""The page of `colondepth check-data`: what was found, with a picture per clip."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.data.checking import ClipCheck, Finding, Weight
from colondepth.data.conventions import Verdict, disagreement_map
from colondepth.masks import find_aperture
from colondepth.pages import facts, figure, write_page
from colondepth.pictures import Panel, image_panel, mask_panel, values_panel, write_row
from colondepth.views import Clip

LARGEST_SHOWN = 0.3  # relative disagreement at the end of the colour scale


def write_report(
    folder: Path,
    name: str,
    findings: Sequence[Finding],
    checks: Sequence[tuple[Clip, ClipCheck]],
) -> None:
    """Write report.html, report.json and a picture per clip into `folder`.

    Args:
        folder: made if it is missing.
        name: what was examined, and as which dataset.
        findings: about the dataset as a whole.
        checks: every clip with what was found out about it.
    """
    parts = []
    for number, (clip, check) in enumerate(checks):
        picture = f"clip_{number:03d}.png"
        panels = _panels(clip, check)
        if panels:
            write_row(panels, folder / "pictures" / picture)
        parts.append(_clip_part(check, f"pictures/{picture}" if panels else None))
    write_page(
        folder / "report.html",
        title="check-data",
        lead=f"{escape(name)}, examined by colondepth {version('colondepth')}.",
        body=f"<h2>The dataset</h2>{_listed(findings) or '<p>Nothing.'}{''.join(parts)}",
    )
    with written_whole(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(summary(name, findings, checks), indent=2) + "\n")


def summary(
    name: str, findings: Sequence[Finding], checks: Sequence[tuple[Clip, ClipCheck]]
) -> dict[str, Any]:
    """Return what was found as plain data."""
    return {
        "version": version("colondepth"),
        "examined": name,
        "findings": [asdict(finding) for finding in findings],
        "clips": [
            {
                "name": check.name,
                "size": list(check.size),
                "frames": len(clip),
                "frames_read": check.tally.frames,
                "unreadable": check.tally.unreadable,
                "with_depth": check.tally.with_depth,
                "unknown_share": check.tally.unknown / max(1, check.tally.pixels),
                "poses": check.poses,
                "path_mm": check.path_mm,
                "aperture_share": check.aperture,
                "reads_as": None if check.verdict is None else check.verdict.best.words,
                "error_best": None if check.verdict is None else check.verdict.best.error,
                "error_as_read": None if check.verdict is None else check.verdict.as_read.error,
                "findings": [asdict(finding) for finding in check.findings],
            }
            for clip, check in checks
        ],
    }


def _panels(clip: Clip, check: ClipCheck) -> list[Panel]:
    view = check.sample
    if view is None:
        return []
    image = view["image"]
    panels = [image_panel(f"frame {view['frame_id']}", image)]
    panels.append(mask_panel("inside the aperture", image, find_aperture(image)))
    if "depth_mm" in view:
        depth_mm = view["depth_mm"]
        panels.append(values_panel("depth as read", depth_mm, known=depth_mm > 0, unit="mm"))
    if check.verdict is not None:
        panels += _verdict_panels(clip, check.verdict)
    return panels


def _verdict_panels(clip: Clip, verdict: Verdict) -> list[Panel]:
    views = [clip[number] for number in verdict.pairs[0]]
    depth_mm = torch.stack([view["depth_mm"] for view in views])
    poses = torch.stack([view["world_from_camera"] for view in views])
    shown = {"as read": verdict.as_read} | {verdict.best.words: verdict.best}

    def drawn(trial_off: tuple[Tensor, Tensor], title: str) -> Panel:
        off, lands = trial_off
        return values_panel(title, off, known=lands, unit="", limits=(0, LARGEST_SHOWN))

    return [
        drawn(disagreement_map(depth_mm, clip.camera, poses, trial), f"disagreement {title}")
        for title, trial in shown.items()
    ]


def _clip_part(check: ClipCheck, picture: str | None) -> str:
    tally = check.tally
    rows = {
        "frames read": f"{tally.frames}, {tally.unreadable} unreadable",
        "size": f"{check.size[0]} x {check.size[1]} (height x width)",
        "inside the aperture": f"{check.aperture:.0%} of the frame",
        "poses": f"{check.poses}, path {check.path_mm:.4g} mm" if check.poses else "none",
    }
    if tally.medians_mm:
        rows["depth"] = (
            f"{tally.nearest_mm:.3g} to {tally.farthest_mm:.3g} mm"
            f" in steps of {tally.step_mm:.2g} mm,"
            f" {tally.unknown / tally.pixels:.1%} unknown, in {tally.with_depth} frames"
        )
    shown = figure(picture, check.name) if picture else ""
    return f"<h2>{escape(check.name)}</h2>{_listed(check.findings)}{facts(rows)}{shown}"


def _listed(findings: Sequence[Finding]) -> str:
    order = [Weight.BAD, Weight.NOTE, Weight.FINE]
    items = []
    for finding in sorted(findings, key=lambda each: order.index(each.weight)):
        cure = f" <em>{escape(finding.cure)}.</em>" if finding.cure else ""
        where, words = escape(finding.where), escape(finding.words)
        items.append(f'<li class="{finding.weight}"><b>{where}</b>: {words}.{cure}')
    return f"<ul class=findings>{''.join(items)}</ul>" if items else ""
