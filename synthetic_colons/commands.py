"""`colondepth synth`: synthetic clips, a contact sheet and meshes. `bench render`: how fast."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from colondepth.commands.devices import usable_device
from colondepth.commands.sizes import image_size
from colondepth.console import err, out, print_json, progress, resumable
from colondepth.errors import DataError

if TYPE_CHECKING:
    pass

app = typer.Typer(
    no_args_is_help=True,
    invoke_without_command=True,
    help="Synthetic colonoscopies with all that is true of them, a contact sheet of them, meshes.",
)

LayoutName = Literal["c3vd", "ruano"]  # Layout would import torch
SMALLEST_SIDE = 16  # the exposure control of level 6 meters pictures of an eighth, 2 pixels or more
LARGEST_SEED = 2**31 - 1  # what dice tell apart
MESH_SUFFIXES = (".ply", ".obj", ".stl", ".glb")  # what mesh_files writes

LevelName = Annotated[str, typer.Option("--level", help="1 to 6, or randomised.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of all that is drawn.")]
Device = Annotated[str, typer.Option(help="Where to render: cpu, cuda, cuda:1 ...")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.callback(
    help="Write clips (--level and --out): images, depth, normals, flow, poses, mesh, parameters."
    " The same command goes on where it was stopped; clips that stand whole are left alone."
)
def clips(
    context: typer.Context,
    level: Annotated[str | None, typer.Option(help="1 to 6, or randomised.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder; every clip gets its own in it.")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Each through another colon.")] = 4,
    frames: Annotated[int, typer.Option(min=1, help="Of each clip.")] = 200,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images.")] = "256x320",
    seed: Seed = 1,
    layout: Annotated[LayoutName, typer.Option(help="Whose files they look like.")] = "c3vd",
    frames_per_s: Annotated[
        float, typer.Option(min=1, max=240, help="Endoscopes have 25 to 60.")
    ] = 30.0,
    mesh: Annotated[
        bool, typer.Option("--mesh/--no-mesh", help="With the surface that was seen.")
    ] = True,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Write clips, unless another command of the group was called."""
    if context.invoked_subcommand is not None:
        _require_no_options(context)
        return
    if level is None or folder is None:
        missing = "--level" if level is None else "--out"
        raise DataError(
            f"{missing} is missing, as in colondepth synth --level 5 --out clips; see colondepth"
            " synth --help"
        )
    from synthetic_colons.clip_files import (
        ClipOrder,
        Layout,
        is_written,
        require_room,
        write_clip,
    )
    from synthetic_colons.levels import level as level_of

    height, width = image_size(size, least=SMALLEST_SIDE)
    chosen = usable_device(device)
    require_folder(folder)
    orders = [
        ClipOrder(
            level=level_of(level).name,
            seed=seed,
            number=number,
            frames=frames,
            height=height,
            width=width,
            frames_per_s=frames_per_s,
            layout=Layout(layout),
            mesh=mesh,
        )
        for number in range(clips)
    ]
    missing_clips = [order for order in orders if not is_written(order, folder)]
    require_room(missing_clips, folder)
    if missing_clips:
        prepare_kernels()
    with progress() as bar:
        task = bar.add_task("Rendering", total=frames * len(missing_clips))
        for order in missing_clips:
            bar.update(task, description=f"Rendering {order.name}")
            cure = (
                f"{order.number} of {clips} clips are in {folder}; the same command goes on with"
                f" {order.name}"
            )
            with resumable(cure):
                write_clip(order, folder, device=chosen, tick=lambda: bar.advance(task))
    names = [order.name for order in orders]
    there = len(orders) - len(missing_clips)
    if as_json:
        print_json({"folder": str(folder), "clips": names, "were_there": there})
        return
    before = f", {there} of them were there" if there else ""
    words = f"{clips} clips of {frames} frames{before} -> {folder}"
    out.print(words, highlight=False, markup=False, soft_wrap=True)


@app.command()
def gallery(
    output: Annotated[Path, typer.Option("--out", help="Image file.")] = Path("gallery.png"),
    levels: Annotated[str, typer.Option(help="Rows, with commas.")] = "1,2,3,4,5,6",
    seed: Seed = 1,
    columns: Annotated[int, typer.Option(min=1, help="Pictures in a row.")] = 4,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of a picture.")] = "192x240",
    device: Device = "cpu",
) -> None:
    """Make one contact sheet: levels by rows, every picture beside its depth."""
    from colondepth.data.rasters import IMAGE_SUFFIXES
    from colondepth.images import write_image
    from synthetic_colons.gallery import gallery as sheet_of
    from synthetic_colons.levels import level as level_of

    if output.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"--out is {output}; expected an image file such as gallery.png")
    height, width = image_size(size, least=SMALLEST_SIDE)
    chosen = usable_device(device)
    names = [level_of(name.strip()).name for name in levels.split(",")]
    prepare_kernels()
    with progress() as bar:
        task = bar.add_task("Rendering", total=len(names) * columns)
        sheet = sheet_of(
            names,
            columns=columns,
            height=height,
            width=width,
            seed=seed,
            device=chosen,
            tick=lambda: bar.advance(task),
        )
    write_image(sheet, output)
    out.print(f"{len(names)} levels -> {output}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def mesh(
    output: Annotated[Path, typer.Option("--out", help="File: .ply, .obj, .stl or .glb.")],
    level: LevelName,
    seed: Seed = 1,
    clip: Annotated[int, typer.Option(min=0, help="Number of the clip whose colon it is.")] = 0,
    stretch: Annotated[
        str | None, typer.Option(help="FROM:TO in mm from the rectum; all if absent.")
    ] = None,
) -> None:
    """Write the surface of a colon: watertight, or open at the ends of a stretch."""
    from synthetic_colons.clips import draw_level_colon
    from synthetic_colons.colon_mesh import colon_mesh
    from synthetic_colons.levels import level as level_of
    from synthetic_colons.mesh_files import write_mesh

    if output.suffix.lower() not in MESH_SUFFIXES:  # before a minute of work
        raise DataError(f"--out is {output}; expected a file in {', '.join(MESH_SUFFIXES)}")
    piece = None if stretch is None else _stretch(stretch)
    wanted = level_of(level)
    with err.status("Meshing"):
        made = colon_mesh(draw_level_colon(wanted, seed, clip, "cpu"), stretch=piece)
        write_mesh(made, output)
    words = f"{len(made.vertices)} vertices, {len(made.faces)} triangles -> {output}"
    out.print(words, highlight=False, markup=False, soft_wrap=True)


def bench_render(
    level: LevelName = "5",
    frames: Annotated[int, typer.Option(min=1, help="Measured; 30 or more for a figure.")] = 60,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images.")] = "256x320",
    seed: Seed = 1,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Time the renderer, frame by frame with all ground truth, beside Embree and VTK.

    Kernels are compiled anew into an empty cache first, which takes a minute or more.
    """
    from synthetic_colons.bench import BenchSettings, bench
    from synthetic_colons.bench_report import print_report
    from synthetic_colons.levels import level as level_of

    height, width = image_size(size, least=SMALLEST_SIDE)
    settings = BenchSettings(
        level=level_of(level).name,
        seed=seed,
        frames=frames,
        height=height,
        width=width,
        device=str(usable_device(device)),
    )
    prepare_kernels()
    with err.status("Starting") as status:
        report = bench(settings, tick=status.update)
    if as_json:
        print_json(report)
    else:
        print_report(report)


def _require_no_options(context: typer.Context) -> None:
    """Refuse options of the clips before the name of another command, where they do nothing."""
    for parameter in context.command.params:
        source: Any = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            option = parameter.opts[0]
            raise DataError(
                f"{option} stands before {context.invoked_subcommand}, where it does nothing; put"
                f" it behind, if {context.invoked_subcommand} has it"
            )


def _stretch(text: str) -> tuple[float, float]:
    low, by, high = text.partition(":")
    try:
        found = float(low), float(high)
    except ValueError:
        by = ""
    if not by:
        raise DataError(f"--stretch is {text!r}, expected FROM:TO in mm such as 300:450")
    return found


def require_folder(folder: Path) -> None:
    """Refuse a place for a folder where a file is."""
    for place in (folder, *folder.parents):
        if place.exists():
            if not place.is_dir():
                raise DataError(f"--out {folder}: {place} is a file, expected a folder")
            return


def prepare_kernels() -> None:
    """Compile what this machine has not compiled yet, and say what takes so long, or is slow."""
    from synthetic_colons.kernels import build_kernels, can_compile, missing_kernels

    if missing := missing_kernels():
        with err.status("compiling kernels for this machine: once, about a minute"):
            build_kernels(missing)
    if not can_compile():
        err.print(
            "[yellow]note[/yellow] kernels are not compiled here (no C++ compiler, or"
            " COLONDEPTH_COMPILE=0): frames take some six times as long",
            soft_wrap=True,
            highlight=False,
        )
