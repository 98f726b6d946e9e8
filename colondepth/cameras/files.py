"""Cameras in files: our JSON, OpenCV's YAML and XML, C3VD's and SimCol3D's text.

    .json                our own form; complete, and easy to write by hand:
                         {"model": "fisheye", "height": 480, "width": 640, "fx": 250, "fy": 251,
                          "cx": 319.5, "cy": 239.5, "distortion": [0.1, 0, 0, 0]}
    .yaml .yml .xml      OpenCV: camera_matrix (or K), distortion_coefficients (or D), image_width,
                         image_height; `fisheye_model: 1` (OpenCV's own mark) makes it a fisheye
    .txt .ini with names C3VD: width, height, cx, cy, a0 to a4, c, d, e, one a line
    .txt with 9 numbers  SimCol3D: the 3x3 matrix row by row, or "fx 0 fy 0 cx cy 0 0 1" as it was
                         published; the size must be given

Numbers are kept as they stand: whole pixel numbers are taken for pixel centres in all of them.
"""

import json
import re
from collections.abc import Callable
from enum import StrEnum
from math import hypot, isfinite
from pathlib import Path
from typing import Any

import torch

from colondepth.atomic import written_whole
from colondepth.cameras.camera import Camera
from colondepth.cameras.fisheye import Fisheye
from colondepth.cameras.omnidirectional import Omnidirectional
from colondepth.cameras.pinhole import Pinhole
from colondepth.errors import DataError, ShapeError


class CameraForm(StrEnum):
    """How a camera is written down."""

    JSON = "json"
    OPENCV = "opencv"
    C3VD = "c3vd"
    SIMCOL3D = "simcol3d"


_SUFFIXES = {
    ".json": CameraForm.JSON,
    ".yaml": CameraForm.OPENCV,
    ".yml": CameraForm.OPENCV,
    ".xml": CameraForm.OPENCV,
}
_MODELS: dict[str, type[Pinhole | Fisheye | Omnidirectional]] = {
    "pinhole": Pinhole,
    "fisheye": Fisheye,
    "omnidirectional": Omnidirectional,
}
_JSON_NUMBERS = ("height", "width", "fx", "fy", "cx", "cy")
_C3VD_NAMES = ("width", "height", "cx", "cy", "a0", "a1", "a2", "a3", "a4", "c", "d", "e")
# C3VD's first release called the stretch e, f, g; the order is the same.
_C3VD_OLD_STRETCH = {"e": "c", "f": "d", "g": "e"}
_LARGEST_FILE = 1 << 20  # bytes; a camera is a page of numbers, and this is a wrong path


def from_file(
    path: Path | str, *, form: CameraForm | None = None, size: tuple[int, int] | None = None
) -> Camera:
    """Read a camera (float64, no batch axes).

    Args:
        path: the file.
        form: how it is written; by default told from its suffix and content.
        size: (height, width) of the images, for files that do not say; must agree with those
            that do.
    """
    path = Path(path)
    text = _read_text(path)
    form = form or _SUFFIXES.get(path.suffix.lower()) or _text_form(text, path)
    read: dict[CameraForm, Callable[[], Camera]] = {
        CameraForm.JSON: lambda: _from_json(text, path),
        CameraForm.OPENCV: lambda: _from_opencv(path, size),
        CameraForm.C3VD: lambda: _from_c3vd(text, path),
        CameraForm.SIMCOL3D: lambda: _from_simcol3d(text, path, size),
    }
    try:
        camera = read[form]()
    except (DataError, ShapeError) as error:
        where = "" if str(path) in str(error) else f"{path}: "
        raise DataError(f"{where}{error}") from error
    if size is not None and size != (camera.height, camera.width):
        raise DataError(
            f"{path} is for images of {camera.height}x{camera.width}, expected {size[0]}x{size[1]};"
            " read it without a size and follow the resizing with camera.resized"
        )
    return camera


def to_file(camera: Camera, path: Path | str, *, form: CameraForm | None = None) -> None:
    """Write one camera; a form that cannot hold it is an error, not an approximation."""
    if camera.batch:
        raise ShapeError(f"the camera is a batch {camera.batch}; a file holds one camera")
    path = Path(path)
    if form is None:
        form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise DataError(f"{path}: say which form; only .json, .yaml, .yml and .xml name their own")
    if not camera.calibrated and form is not CameraForm.JSON:
        raise DataError(
            f"this camera is a guess, and {form} has no place to say so; write it as .json"
        )
    write: dict[CameraForm, Callable[[Camera, Path], None]] = {
        CameraForm.JSON: _to_json,
        CameraForm.OPENCV: _to_opencv,
        CameraForm.C3VD: _to_c3vd,
        CameraForm.SIMCOL3D: _to_simcol3d,
    }
    with written_whole(path) as temporary:
        write[form](camera, temporary)


def _read_text(path: Path) -> str:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {found}; expected a camera file")
    if path.stat().st_size > _LARGEST_FILE:
        raise DataError(f"{path} has {path.stat().st_size} bytes; a camera file is a page of text")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text; expected a camera file") from error


def _text_form(text: str, path: Path) -> CameraForm:
    if re.search(r"\ba0\b", text):
        return CameraForm.C3VD
    count = len(_numbers(text))
    if count == len(_C3VD_NAMES):
        return CameraForm.C3VD
    if count == 9:
        return CameraForm.SIMCOL3D
    raise DataError(
        f"{path} holds {count} numbers and no name that is known; expected JSON, OpenCV's YAML, the"
        " 12 named numbers of C3VD (width ... e) or the 9 of a 3x3 matrix"
    )


def _from_json(text: str, path: Path) -> Camera:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(fields, dict) or str(fields.get("model")) not in _MODELS:
        found = fields.get("model") if isinstance(fields, dict) else type(fields).__name__
        raise DataError(f'{path} has "model" {found!r}, expected one of {sorted(_MODELS)}')
    omni = fields["model"] == "omnidirectional"
    terms = "polynomial" if omni else "distortion"
    needed = {"model", *_JSON_NUMBERS} | ({terms} if omni else set())
    spare = {terms, "shear", "calibrated"}
    if wrong := sorted((needed - fields.keys()) | (fields.keys() - needed - spare)):
        raise DataError(
            f"{path}: keys {wrong} are missing or unknown; a {fields['model']} camera has"
            f" {sorted(needed)} and may have {sorted(spare - needed)}"
        )
    number = {name: _number(fields[name], name, path) for name in _JSON_NUMBERS}
    if not all(number[name].is_integer() for name in ("height", "width")):
        raise DataError(f"{path}: height and width are whole numbers of pixels")
    count = 5 if fields["model"] != "fisheye" else 4
    values = _row(fields.get(terms, [0.0] * count), count, terms, path)
    if omni and values[0] <= 0:
        raise DataError(f"{path}: the polynomial starts with {values[0]}, expected more than 0")
    calibrated = fields.get("calibrated", True)
    if not isinstance(calibrated, bool):
        raise DataError(f"{path}: calibrated is {calibrated!r}, expected true or false")
    shear = _row(fields.get("shear", [0.0, 0.0]), 2, "shear", path)
    return _camera(fields["model"], number, values, shear=shear, calibrated=calibrated)


def _to_json(camera: Camera, path: Path) -> None:
    (fx, xy), (yx, fy) = camera.linear.tolist()
    cx, cy = camera.centre.tolist()
    model = next(name for name, kind in _MODELS.items() if isinstance(camera.lens, kind))
    terms = "polynomial" if isinstance(camera.lens, Omnidirectional) else "distortion"
    fields: dict[str, Any] = {
        "model": model,
        "height": camera.height,
        "width": camera.width,
        **{"fx": fx, "fy": fy, "cx": cx, "cy": cy, "shear": [xy, yx]},
        terms: camera.lens.parameters().tolist(),
        "calibrated": camera.calibrated,
    }
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def _camera(
    model: str,
    number: dict[str, float],
    terms: list[float],
    *,
    shear: list[float],
    calibrated: bool = True,
) -> Camera:
    xy, yx = shear
    double = torch.float64
    return Camera(
        lens=_MODELS[model](torch.tensor(terms, dtype=double)),
        linear=torch.tensor([[number["fx"], xy], [yx, number["fy"]]], dtype=double),
        centre=torch.tensor([number["cx"], number["cy"]], dtype=double),
        height=int(number["height"]),
        width=int(number["width"]),
        calibrated=calibrated,
    )


def _from_opencv(path: Path, size: tuple[int, int] | None) -> Camera:
    import cv2  # here: training machines read JSON and have no OpenCV

    try:
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    except (cv2.error, SystemError) as error:
        raise DataError(f"{path} is not a file that OpenCV can read") from error
    matrix = _first_matrix(storage, ("camera_matrix", "K", "cameraMatrix"))
    if matrix is None or matrix.shape != (3, 3):
        raise DataError(f"{path} has no 3x3 camera_matrix (or K)")
    bends = _first_matrix(storage, ("distortion_coefficients", "D", "distCoeffs"))
    terms = [] if bends is None else [float(term) for term in bends.reshape(-1)]
    height = int(storage.getNode("image_height").real() or (size or (0, 0))[0])
    width = int(storage.getNode("image_width").real() or (size or (0, 0))[1])
    if not height or not width:
        raise DataError(f"{path} has no image_height and image_width; pass size=(height, width)")
    fisheye = bool(storage.getNode("fisheye_model").real())
    if matrix[0, 1] and not fisheye:
        raise DataError(f"{path} has a skew of {matrix[0, 1]}, which OpenCV's pinhole ignores")
    storage.release()
    count = 4 if fisheye else 5
    if any(terms[count:]):
        raise DataError(
            f"{path} has {len(terms)} distortion coefficients; expected at most {count} that are"
            " not 0: calibrate without CALIB_RATIONAL_MODEL, or as a fisheye"
        )
    terms = (terms + [0.0] * count)[:count]
    numbers = {"height": height, "width": width, "fx": matrix[0, 0], "fy": matrix[1, 1]}
    numbers |= {"cx": matrix[0, 2], "cy": matrix[1, 2]}
    return _camera(
        "fisheye" if fisheye else "pinhole", numbers, terms, shear=[float(matrix[0, 1]), 0.0]
    )


def _first_matrix(storage: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        node = storage.getNode(name)
        if not node.empty() and node.isMap():
            return node.mat()
    return None


def _to_opencv(camera: Camera, path: Path) -> None:
    import cv2

    if isinstance(camera.lens, Omnidirectional):
        raise DataError("OpenCV's files have no polynomial camera; write it as .json or c3vd")
    (fx, xy), (yx, fy) = camera.linear.tolist()
    if yx or (xy and isinstance(camera.lens, Pinhole)):
        raise DataError(
            f"the camera's axes are sheared by {[xy, yx]}, which OpenCV's projectPoints ignores;"
            " write it as .json"
        )
    matrix = camera.centre.new_tensor(
        [[fx, xy, camera.centre[0].item()], [0, fy, camera.centre[1].item()], [0, 0, 1]]
    )
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", camera.width)
    storage.write("image_height", camera.height)
    storage.write("fisheye_model", int(isinstance(camera.lens, Fisheye)))
    storage.write("camera_matrix", matrix.double().cpu().numpy())
    terms = camera.lens.parameters().double().cpu().numpy()
    storage.write("distortion_coefficients", terms.reshape(-1, 1))
    storage.release()


def _from_c3vd(text: str, path: Path) -> Camera:
    lines = [re.split(r"[;#]", line)[0] for line in text.splitlines()]
    found = re.findall(r"([A-Za-z]\w*)\s*[\"']?\s*[=:,\s]\s*([-+.\d][-+.\deE]*)", "\n".join(lines))
    named = {name.lower(): value for name, value in found}
    if not named:
        named = dict(zip(_C3VD_NAMES, _numbers(text), strict=True))
    if "g" in named:
        named |= {new: named[old] for old, new in _C3VD_OLD_STRETCH.items() if old in named}
    named.setdefault("a1", "0")  # the model's a1 is 0 and often left out
    if missing := [name for name in _C3VD_NAMES if name not in named]:
        raise DataError(f"{path} lacks {missing}; a C3VD camera has {list(_C3VD_NAMES)}")
    value = {name: _number(named[name], name, path) for name in _C3VD_NAMES}
    return Camera.omnidirectional(
        polynomial=[value[f"a{power}"] for power in range(5)],
        cx=value["cx"],
        cy=value["cy"],
        height=int(value["height"]),
        width=int(value["width"]),
        stretch=(value["c"], value["d"], value["e"]),
    )


def _to_c3vd(camera: Camera, path: Path) -> None:
    if not isinstance(camera.lens, Omnidirectional):
        raise DataError(f"C3VD's form holds polynomial cameras, not a {type(camera.lens).__name__}")
    (xx, xy), (yx, scale) = camera.linear.tolist()
    if scale <= 0:
        raise DataError("C3VD's form has no place for a flipped camera; write it as .json")
    # The form has 1 at the stretch's end: a resized camera moves its scale into the polynomial.
    powers = torch.arange(5).to(camera.centre)
    terms = camera.lens.polynomial * scale ** (1 - powers)
    values = [camera.width, camera.height, *camera.centre.tolist(), *terms.tolist()]
    values += [xx / scale, xy / scale, yx / scale]
    lines = [f"{name} = {value!r}\n" for name, value in zip(_C3VD_NAMES, values, strict=True)]
    path.write_text("".join(lines), encoding="utf-8")


def _from_simcol3d(text: str, path: Path, size: tuple[int, int] | None) -> Camera:
    values = [_number(word, "the matrix", path) for word in _numbers(text)]
    if len(values) != 9 or values[6:] != [0, 0, 1]:
        raise DataError(f"{path} holds {values}, expected a 3x3 matrix whose last row is 0 0 1")
    if size is None:
        raise DataError(
            f"{path} does not say how large its images are; pass size=(height, width), which is"
            " (475, 475) for SimCol3D (--size 475x475 on the command line)"
        )
    # The published cam.txt is "fx 0 fy 0 cx cy 0 0 1", not the matrix row by row that its README
    # promises. Repaired copies exist, so the reading whose centre is nearer the image's is taken.
    by_row = {"fx": values[0], "cx": values[2], "fy": values[4], "cy": values[5]}
    as_published = {"fx": values[0], "fy": values[2], "cx": values[4], "cy": values[5]}

    def off_centre(number: dict[str, float]) -> float:
        return hypot(number["cx"] - (size[1] - 1) / 2, number["cy"] - (size[0] - 1) / 2)

    number = min(by_row, as_published, key=off_centre)
    if values[1] or values[3]:
        raise DataError(f"{path} has a skew of {values[1]} and {values[3]}, expected 0")
    number |= {"height": size[0], "width": size[1]}
    return _camera("pinhole", number, [0.0] * 5, shear=[0.0, 0.0])


def _to_simcol3d(camera: Camera, path: Path) -> None:
    if not isinstance(camera.lens, Pinhole) or bool(camera.lens.distortion.any()):
        raise DataError("SimCol3D's form holds an undistorted pinhole; undistort, or write .json")
    (fx, xy), (yx, fy) = camera.linear.tolist()
    cx, cy = camera.centre.tolist()
    if xy or yx:
        raise DataError(f"SimCol3D's form has no place for the shear {[xy, yx]}; write it as .json")
    scrambled = hypot(fy - (camera.width - 1) / 2, cy - (camera.height - 1) / 2)
    if scrambled < hypot(cx - (camera.width - 1) / 2, cy - (camera.height - 1) / 2):
        raise DataError(
            f"with fy = {fy} and cx = {cx} nobody could tell this file from SimCol3D's published"
            " order of numbers; write it as .json"
        )
    path.write_text(" ".join(map(repr, [fx, 0, cx, 0, fy, cy, 0, 0, 1])) + "\n", encoding="utf-8")


def _numbers(text: str) -> list[str]:
    return re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", text)


def _number(value: object, name: str, path: Path) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number) or isinstance(value, bool):
        raise DataError(f"{path}: {name} is {value!r}, expected a finite number")
    return number


def _row(value: object, count: int, name: str, path: Path) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise DataError(f"{path}: {name} is {value!r}, expected {count} numbers")
    return [_number(entry, name, path) for entry in value]
