"""`colondepth trajectory`: convert camera trajectories, and say what is in one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from colondepth.console import err, out, print_json
from colondepth.errors import DataError

if TYPE_CHECKING:
    from colondepth.trajectories import Trajectory, TrajectoryForm

app = typer.Typer(no_args_is_help=True, help="Convert and describe camera trajectories.")

FormName = Literal["tum", "kitti", "c3vd", "simcol3d"]  # TrajectoryForm would import torch

InputPath = Annotated[
    Path, typer.Argument(metavar="INPUT", help="Trajectory file; of a SimCol3D pair either one.")
]
FromForm = Annotated[
    FormName | None, typer.Option("--from", help="Form of INPUT; told from its content if absent.")
]
MmPerUnit = Annotated[
    float | None,
    typer.Option(help="Millimetres in INPUT's unit (metres: 1000); for tum and kitti only."),
]


@app.command()
def convert(
    input_path: InputPath,
    output_path: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="Where to write; replaced if it exists.")
    ],
    to_form: Annotated[FormName, typer.Option("--to", help="Form of OUTPUT.")],
    from_form: FromForm = None,
    mm_per_unit: MmPerUnit = None,
    out_mm_per_unit: Annotated[
        float | None,
        typer.Option(help="Millimetres in OUTPUT's unit (metres: 1000); for tum and kitti only."),
    ] = None,
    frames_per_s: Annotated[
        float | None,
        typer.Option(help="Gives times to an INPUT that has none, from 0 s on; tum needs times."),
    ] = None,
) -> None:
    """Write a trajectory in another form: tum, kitti, c3vd or simcol3d."""
    from colondepth.trajectories import TrajectoryForm, write_trajectory

    trajectory = _read(input_path, from_form, mm_per_unit)
    if frames_per_s is not None:
        trajectory = _timed(input_path, trajectory, frames_per_s)
    form = TrajectoryForm(to_form)
    write_trajectory(trajectory, output_path, form=form, mm_per_unit=out_mm_per_unit)
    if trajectory.time_s is not None and form is not TrajectoryForm.TUM:
        left_out = f"{form} holds no times; those of {input_path} are left out"
        err.print(left_out, soft_wrap=True, markup=False, highlight=False)
    done = f"{len(trajectory)} frames -> {output_path} ({form})"
    out.print(done, soft_wrap=True, markup=False, highlight=False)


@app.command()
def show(
    input_path: InputPath,
    from_form: FromForm = None,
    mm_per_unit: MmPerUnit = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how long a trajectory is, in frames, millimetres, seconds and degrees."""
    from math import degrees

    trajectory = _read(input_path, from_form, mm_per_unit)
    step_mm, time_s = trajectory.step_mm(), trajectory.time_s
    answer = {
        "frames": len(trajectory),
        "length_mm": float(step_mm.sum()),
        "mean_step_mm": float(step_mm.mean()) if len(step_mm) else None,
        "duration_s": None if time_s is None else float(time_s[-1] - time_s[0]),
        "total_rotation_deg": degrees(float(trajectory.turn_rad().sum())),
    }
    if as_json:
        print_json(answer)
        return
    for name, value in answer.items():
        words = "unknown" if value is None else f"{value:.6g}"
        out.print(f"{name:20}{words}", highlight=False)


def _read(path: Path, form: FormName | None, mm_per_unit: float | None) -> "Trajectory":
    from colondepth.trajectories import read_trajectory

    return read_trajectory(path, form=_form(path, form), mm_per_unit=mm_per_unit)


def _form(path: Path, name: FormName | None) -> "TrajectoryForm":
    from colondepth.trajectories import TrajectoryForm, guess_form

    form = TrajectoryForm(name) if name else guess_form(path)
    if form is None:
        raise DataError(f"{path} looks like none of {', '.join(TrajectoryForm)}; say --from")
    return form


def _timed(path: Path, trajectory: "Trajectory", frames_per_s: float) -> "Trajectory":
    import torch

    from colondepth.trajectories import Trajectory

    if trajectory.time_s is not None:
        raise DataError(f"{path} has times of its own; leave --frames-per-s out")
    if not 0 < frames_per_s < float("inf"):
        raise DataError(f"--frames-per-s is {frames_per_s:g}, expected a positive number")
    time_s = torch.arange(len(trajectory), dtype=torch.float64) / frames_per_s
    return Trajectory(trajectory.world_from_camera, time_s)
