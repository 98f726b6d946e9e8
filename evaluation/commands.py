"""`colondepth evaluate`: score what was estimated against what is true, by a named protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from colondepth.commands.trajectory import FormName
from colondepth.console import out, print_json
from colondepth.errors import DataError
from evaluation.etis_command import etis
from evaluation.evaluate_command import mount_protocols

if TYPE_CHECKING:
    from colondepth.trajectories import Trajectory
    from evaluation.trajectories import AbsoluteError, RelativeError

app = typer.Typer(no_args_is_help=True, help="Score estimates against ground truth.")

AlignmentName = Literal["none", "rigid", "similarity"]  # TrajectoryAlignment would import torch


@app.callback()
def evaluate() -> None:
    """Score estimates against ground truth."""


@app.command()
def trajectory(
    estimate: Annotated[Path, typer.Argument(help="Estimated trajectory file.")],
    truth: Annotated[Path, typer.Argument(help="True trajectory file.")],
    alignment: Annotated[AlignmentName, typer.Option(help="Fitted before scoring; no default.")],
    form: Annotated[
        FormName | None, typer.Option(help="Form of both; told from their content if absent.")
    ] = None,
    mm_per_unit: Annotated[
        float | None,
        typer.Option(help="Millimetres in the unit of tum and kitti files (metres: 1000)."),
    ] = None,
    step_frames: Annotated[
        int | None, typer.Option(help="Adds the relative error over so many frames.")
    ] = None,
    tolerance_s: Annotated[
        float | None, typer.Option(help="Pairs frames by time, up to this; else by number.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare an estimated camera trajectory with the true one (ATE and RPE)."""
    from dataclasses import asdict

    from evaluation.trajectories import TrajectoryAlignment, absolute_error, relative_error

    guess, true = _read_both(estimate, truth, form, mm_per_unit)
    fitted = TrajectoryAlignment(alignment)
    absolute = absolute_error(guess, true, alignment=fitted, tolerance_s=tolerance_s)
    step = None
    if step_frames is not None:
        step = relative_error(
            guess, true, step_frames=step_frames, alignment=fitted, tolerance_s=tolerance_s
        )
    if as_json:
        print_json(
            {"absolute": asdict(absolute), "relative": None if step is None else asdict(step)}
        )
    else:
        _print_table(absolute, step)


mount_protocols(app)
app.command("etis")(etis)


def _read_both(
    estimate: Path, truth: Path, form: FormName | None, mm_per_unit: float | None
) -> tuple["Trajectory", "Trajectory"]:
    """Read two files of maybe two forms; the unit goes to those that state none."""
    from colondepth.trajectories import (
        STATED_MM_PER_UNIT,
        TrajectoryForm,
        guess_form,
        read_trajectory,
    )

    forms = []
    for path in (estimate, truth):
        found = TrajectoryForm(form) if form else guess_form(path)
        if found is None:
            raise DataError(f"{path} looks like none of {', '.join(TrajectoryForm)}; say --form")
        forms.append(found)
    mixed = any(found in STATED_MM_PER_UNIT for found in forms) and any(
        found not in STATED_MM_PER_UNIT for found in forms
    )
    units = [None if mixed and found in STATED_MM_PER_UNIT else mm_per_unit for found in forms]
    return (
        read_trajectory(estimate, form=forms[0], mm_per_unit=units[0]),
        read_trajectory(truth, form=forms[1], mm_per_unit=units[1]),
    )


def _print_table(absolute: "AbsoluteError", step: "RelativeError | None") -> None:
    from rich.table import Table

    table = Table("error", "rmse", "mean", "median", "max")
    rows = [("absolute (mm)", absolute.translation_mm)]
    if step is not None:
        rows.append((f"relative, {step.step_frames} frames (mm)", step.translation_mm))
        rows.append((f"relative, {step.step_frames} frames (deg)", step.rotation_deg))
    for name, spread in rows:
        numbers = (spread.rmse, spread.mean, spread.median, spread.max)
        table.add_row(name, *(f"{number:.4g}" for number in numbers))
    out.print(table)
    made = (
        f"{absolute.frames} of {absolute.truth_frames} true frames, {absolute.alignment} alignment"
    )
    out.print(f"{made}, scale {absolute.scale:.6g}", soft_wrap=True, highlight=False)
    if step is not None and step.drift_mm_per_m is not None:
        out.print(f"drift {step.drift_mm_per_m:.4g} mm per metre", highlight=False)
