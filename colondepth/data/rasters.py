"""Raster files as numbers: the counts that were stored, with all of their bits.

A depth map of 16 bits that some program turned into 8 is an error here, not a coarser map. Pillow
reads 16-bit colour as 8-bit without a word, so that goes through OpenCV.
"""

import os
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.data.folders import File
from colondepth.errors import DataError, MissingExtraError
from colondepth.images import opened_image, read_image

Counts = NDArray[Any]  # (H, W) or (H, W, 3), uint8 or uint16 as stored

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_HEAD, _TAIL = 32, 12  # bytes that tell a whole file from a broken one


def image_size(path: str) -> tuple[int, int]:
    """Return (height, width) from the header of an image file."""
    with opened_image(path) as file:
        return file.height, file.width


def stored_bits(path: Path | str) -> int:
    """Return how many bits a value has in an image file: 8, 16 or 32."""
    with opened_image(path) as file:
        return _bits(str(path), file)


def read_colour(path: str) -> Tensor:
    """Read an image of 8 or 16 bits as (3, H, W) in [0, 1]; alpha is dropped, grey is repeated."""
    with opened_image(path) as file:
        deep = _bits(path, file) == 16
        colour = not file.mode.startswith("I")
    if not deep:
        return read_image(path)
    counts = read_colour_counts(path) if colour else read_grey(path, bits=16)[..., None]
    pixels = np.broadcast_to(counts, (*counts.shape[:2], 3)).astype(np.float32) / 65535
    return torch.from_numpy(pixels).movedim(-1, 0).contiguous()


def read_grey(path: str, *, bits: Literal[8, 16]) -> Counts:
    """Read one value a pixel, (H, W); of 8-bit colour the first channel."""
    with opened_image(path) as file:
        if (found := _bits(path, file)) != bits:
            raise DataError(
                f"{path} has {found} bits a value, expected {bits}; a program that saved it anew"
                " has changed its numbers: use the original file"
            )
        if bits == 16 and not file.mode.startswith("I"):
            raise DataError(f"{path} is a colour image, expected one value of 16 bits a pixel")
        if file.mode in ("P", "1"):
            file = file.convert("L")
        counts = np.asarray(file)
    counts = counts if counts.ndim == 2 else counts[..., 0]
    return counts.astype(np.uint16 if bits == 16 else np.uint8)


def read_colour_counts(path: str) -> Counts:
    """Read a colour image of 16 bits, (H, W, 3) in the order red, green, blue."""
    with opened_image(path) as file:
        if (found := _bits(path, file)) != 16 or file.mode.startswith("I"):
            kind = "one value" if file.mode.startswith("I") else "colour"
            raise DataError(
                f"{path} is {kind} of {found} bits, expected colour of 16; use the original file"
            )
    cv2 = _opencv(path)
    counts: Counts | None = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if counts is None or counts.dtype != np.uint16 or counts.ndim != 3:
        raise DataError(f"{path} cannot be decoded as colour of 16 bits; it is broken")
    return counts[..., 2::-1]  # OpenCV has blue first, and alpha last


def write_counts(counts: Counts, path: Path) -> None:
    """Write (H, W) or (H, W, 3) as it stands, without loss; the suffix names the format."""
    with written_whole(path) as temporary:
        if counts.ndim == 2:
            packing = {"compression": "tiff_lzw"} if path.suffix.startswith(".tif") else {}
            Image.fromarray(counts).save(temporary, **packing)
            return
        cv2 = _opencv(str(path))
        sound, data = cv2.imencode(path.suffix, counts[..., ::-1])
        if not sound:
            raise DataError(f"{path}: OpenCV cannot write colour of 16 bits as {path.suffix}")
        data.tofile(temporary)


def fault(file: File) -> str | None:
    """Say what is wrong with a file without decoding it; None where nothing shows.

    Empty files, files that are not what their suffix says and files that end too early are found
    by their first and last bytes. What only a decoder can see is found when the file is read.
    """
    if file.size == 0:
        return "has no bytes"
    suffix = os.path.splitext(file.path)[1].lower()  # noqa: PTH122 - Path is ten times as slow
    if suffix not in _SOUND or file.size < _HEAD:
        return None if suffix not in _SOUND else f"has {file.size} bytes, too few for an image"
    try:
        with open(file.path, "rb", buffering=0) as handle:  # noqa: PTH123 - as above
            head = handle.read(_HEAD)
            handle.seek(-_TAIL, os.SEEK_END)
            tail = handle.read(_TAIL)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    kind, whole = _SOUND[suffix](head, tail, file.size)
    if not kind:
        return f"is not a {suffix} file; it begins with {head[:4]!r}"
    # Some cameras add bytes behind the end, so a doubtful ending is decided by the decoder.
    return None if whole else _decodes(file.path)


def _decodes(path: str) -> str | None:
    try:
        with opened_image(path) as image:
            image.load()
    except DataError as error:
        return f"is truncated or broken: {error.__cause__ or error}"
    return None


def _png(head: bytes, tail: bytes, size: int) -> tuple[bool, bool]:
    del size
    return head.startswith(_PNG), tail.endswith(_PNG_END)


def _jpeg(head: bytes, tail: bytes, size: int) -> tuple[bool, bool]:
    del size
    return head.startswith(b"\xff\xd8"), tail.endswith(b"\xff\xd9")


def _tiff(head: bytes, tail: bytes, size: int) -> tuple[bool, bool]:
    del tail
    order = {b"II*\0": "<I", b"MM\0*": ">I"}.get(head[:4])
    if order is None:
        return head[:4] in (b"II+\0", b"MM\0+"), True  # BigTIFF: left to the decoder
    # libtiff writes the directory last, so where that is whole all is; where it comes first, the
    # decoder has to look.
    directory: int = struct.unpack_from(order, head, 4)[0]
    return True, size // 2 <= directory <= size - _TAIL


def _bmp(head: bytes, tail: bytes, size: int) -> tuple[bool, bool]:
    del tail
    return head.startswith(b"BM"), struct.unpack_from("<I", head, 2)[0] <= size


def _webp(head: bytes, tail: bytes, size: int) -> tuple[bool, bool]:
    del tail
    kind = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return kind, struct.unpack_from("<I", head, 4)[0] + 8 <= size


_SOUND = {
    ".png": _png,
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".bmp": _bmp,
    ".webp": _webp,
}


def _bits(path: str, file: Image.Image) -> int:
    if file.mode.startswith("I;16") or file.mode == "I":
        return 16
    if file.mode == "F":
        return 32
    if file.format == "PNG":
        with Path(path).open("rb") as handle:
            return max(8, handle.read(25)[24])  # IHDR's bit depth
    if file.format == "TIFF":
        bits = file.tag_v2.get(258, (8,))  # type: ignore[attr-defined]  # BitsPerSample
        return max(8, *map(int, bits))
    return 8


def _opencv(path: str) -> Any:
    try:
        import cv2  # here: training machines that read none of these have no OpenCV
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: colour of 16 bits needs OpenCV: pip install opencv-python-headless"
        ) from error
    return cv2
