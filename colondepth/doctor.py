"""Is this machine able to run colondepth? Each answer is found by doing, not by looking up.

The checks need nothing but the machine: no network, no data.
"""

import io
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from colondepth.backbones.registry import backbones
from colondepth.errors import ColonDepthError
from colondepth.weights import shipped

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
_RENDER_LIMIT_S = 60  # a first VTK import from a cold disk took 12 s; a hung driver never ends
# VTK ends the whole process when it finds no way to draw, so it is asked in a process of its own.
_RENDER = """
import sys, pyvista
plotter = pyvista.Plotter(off_screen=True, window_size=(64, 48))
plotter.add_mesh(pyvista.Sphere(), color="red")
picture = plotter.screenshot(return_img=True)
red = (picture[..., 0].astype(int) - picture[..., 1] > 60).mean()
sys.exit(0 if 0.05 < red < 0.95 else f"the picture is {red:.0%} red")
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked: what was found, whether it will do, and the cure if not."""

    name: str
    found: str
    ok: bool
    cure: str = ""


def examine() -> tuple[Finding, ...]:
    """Run every check; a check that breaks is a finding too."""
    checks: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "torch": _torch,
        "device": _device,
        "video decoder": _video,
        "off-screen rendering": _rendering,
        "backbones": _backbones,
        "weights": _weights,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(check())
        except ColonDepthError as error:
            findings.append(Finding(name, str(error), ok=False, cure="reinstall colondepth"))
        except Exception as error:  # noqa: BLE001 - a broken library is what this is looking for
            found = f"{type(error).__name__}: {error}"
            findings.append(Finding(name, found, ok=False, cure="reinstall: make clean, make demo"))
    return tuple(findings)


def _python() -> Finding:
    fits = OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON
    wanted = "{}.{} to {}.{}".format(*OLDEST_PYTHON, *NEWEST_PYTHON)
    return Finding(
        "python",
        f"{platform.python_version()} on {platform.machine()} {platform.system()}",
        ok=fits,
        cure="" if fits else f"install Python {wanted}",
    )


def _torch() -> Finding:
    import torch

    total = float((torch.eye(3) @ torch.ones(3, 2)).sum())
    return Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads", total == 6)


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        total = float(torch.ones(8, device="cuda").sum())
        return Finding(
            "device", f"{torch.cuda.get_device_name(0)}, {memory_gib:.0f} GiB", total == 8
        )
    if torch.backends.mps.is_available():
        return Finding("device", "Apple GPU", float(torch.ones(8, device="mps").sum()) == 8)
    return Finding("device", "CPU (enough for everything but long training)", ok=True)


def _video() -> Finding:
    """Encode a clip of three frames in memory and read it back."""
    import av
    import numpy as np

    cure = "pip install --force-reinstall av"
    grey = [40, 120, 200]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in grey:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as written:
        frames = list(written.decode(video=0))
        levels = [float(frame.to_ndarray(format="rgb24").mean()) for frame in frames]
    same = len(levels) == 3 and all(abs(a - b) < 12 for a, b in zip(levels, grey, strict=True))
    missing = [name for name in ("h264", "hevc", "mpeg2video", "mjpeg") if not _decodes(name)]
    if not same:
        return Finding("video decoder", f"3 frames of {grey} came back as {levels}", False, cure)
    found = f"PyAV {version('av')}" + (f", without {', '.join(missing)}" if missing else "")
    return Finding("video decoder", found, not missing, cure if missing else "")


def _decodes(name: str) -> bool:
    import av

    try:
        return bool(av.codec.Codec(name, "r").is_decoder)
    except ValueError:
        return False


def _rendering() -> Finding:
    cure = "on Linux without a screen: apt-get install libgl1 libegl1 libxrender1"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RENDER],
            capture_output=True,
            text=True,
            timeout=_RENDER_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("off-screen rendering", f"hangs for {_RENDER_LIMIT_S} s", False, cure)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
        return Finding("off-screen rendering", last[0], ok=False, cure=cure)
    return Finding(
        "off-screen rendering", f"PyVista {version('pyvista')}, VTK {version('vtk')}", True
    )


def _backbones() -> Finding:
    names = backbones.names()
    for name in names:
        backbones.load(name)
    return Finding("backbones", ", ".join(names) or "none in this version", ok=True)


def _weights() -> Finding:
    weights = shipped()
    for file in weights:
        file.check()
    whole = [f"{file.path.name} ({file.sha256[:12]})" for file in weights]
    return Finding("weights", ", ".join(whole) or "none in this version", ok=True)
