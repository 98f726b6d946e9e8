"""The program `colondepth`: mounts the commands that packages bring, and answers for their errors.

A mistake of the user, or an error raised on purpose, is one line and exit code 2. Ctrl-C says what
can be taken up again and exits with 130. Anything else is a bug, and what is printed is a report
of it with the versions inside, exit code 1.
"""

import os
import platform
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NoReturn

import typer

from colondepth.console import InterruptedWorkError, err, out
from colondepth.errors import ColonDepthError
from colondepth.mounting import mount
from colondepth.plugins import Plugins

commands = Plugins("colondepth.commands", kind="command")

# What a bug report must say; missing ones are reported as such.
_REPORTED = ("colondepth", "torch", "monai", "numpy", "albumentations", "av", "pyvista", "typer")
# typer has carried its own copy of click since 0.2x: find the base class in whichever it uses.
_UsageError: Any = typer.BadParameter.__mro__[2]


def build() -> typer.Typer:
    """Mount every installed command; one that cannot be imported is there and says why."""
    app = typer.Typer(
        name="colondepth",
        help="Depth, the 3D wall and what was missed, from colonoscopy video.",
        epilog="Research software, not for diagnosis. Nothing is ever sent anywhere.",
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    mount(app, commands)
    return app


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    code = 0
    try:
        # Not `command.main()`: it would answer Ctrl-C and pipes itself, without our last word.
        command = typer.main.get_command(build())
        with command.make_context("colondepth", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as done:
        code = done.exit_code
    except ColonDepthError as error:
        _fail(str(error))
    except _UsageError as error:
        if not error.format_message().strip():  # a group without a command: its help was shown
            sys.exit(2)
        _fail(_usage(error))
    except (KeyboardInterrupt, typer.Abort) as stop:
        _stopped(str(stop) if isinstance(stop, InterruptedWorkError) else "")
    except BrokenPipeError:
        # The reader of our answer (`| head`) has gone; Python would complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception:  # noqa: BLE001 - this is the one place where a bug becomes a report
        _report_bug(traceback.format_exc())
    sys.exit(code)


def versions() -> Mapping[str, str]:
    """Return the versions that a bug report needs, without importing anything heavy."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in _REPORTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"colondepth {version('colondepth')}", highlight=False)
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which this is."),
    ] = False,
) -> None:
    del show_version


def _usage(error: Any) -> str:
    place = error.ctx.command_path if getattr(error, "ctx", None) else "colondepth"
    message = " ".join(error.format_message().split())
    end = "" if message.endswith("?") else "."
    return f"{message.removesuffix('.')}{end} See: {place} --help"


def _fail(message: str) -> NoReturn:
    one_line = " ".join(message.split())
    err.print(f"[red]error[/red] {_plain(one_line)}", highlight=False, soft_wrap=True)
    sys.exit(2)


def _stopped(cure: str) -> NoReturn:
    rest = cure or "no half-written file was left; the same command starts again"
    err.print(f"[yellow]stopped[/yellow] {_plain(rest)}", highlight=False, soft_wrap=True)
    sys.exit(130)


def _report_bug(trace: str) -> NoReturn:
    listed = "\n".join(f"  {name} {number}" for name, number in versions().items())
    err.print(
        "[red]bug[/red] This is a fault of colondepth, not of what you did. Please report the"
        " text below; take out file names that say who a patient is.",
        soft_wrap=True,
    )
    err.print(f"{trace}{listed}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
