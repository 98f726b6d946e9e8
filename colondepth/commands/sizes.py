"""What `--size` may be."""

from colondepth.errors import DataError


def image_size(text: str, *, least: int = 1, such_as: str = "256x320") -> tuple[int, int]:
    """Return height and width of a text such as "256x320"; another is a mistake of the user."""
    height, by, width = text.lower().partition("x")
    if not by or not height.isdecimal() or not width.isdecimal():
        raise DataError(f"--size is {text!r}, expected HEIGHTxWIDTH such as {such_as}")
    if min(int(height), int(width)) < least:
        raise DataError(f"--size is {text}, expected {least} pixels or more to a side")
    return int(height), int(width)
