"""Views read ahead by a thread, in order, while the caller works on the ones before."""

from collections.abc import Iterator, Sequence
from queue import Full, Queue
from threading import Event, Thread

from colondepth.errors import DataError
from colondepth.views import View

AHEAD = 8  # a second of work at most for the slowest reader; 90 MB at 1280x720
_PATIENCE_S = 0.1  # how long the thread waits for a place before it asks whether it is still needed


def prefetched(clip: Sequence[View], *, ahead: int = AHEAD) -> Iterator[View]:
    """Give the views of a clip in order, up to `ahead` of them read before they are asked for.

    An error of the reader is raised at the place of its view. Leaving the loop ends the thread.
    """
    if ahead < 1:
        raise DataError(f"ahead is {ahead}, expected 1 or more")
    queue: Queue[View | Exception | None] = Queue(maxsize=ahead)
    left = Event()
    thread = Thread(target=_fill, args=(clip, queue, left), daemon=True, name="prefetch")
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        left.set()
        thread.join()


def _fill(clip: Sequence[View], queue: "Queue[View | Exception | None]", left: Event) -> None:
    try:
        for number in range(len(clip)):
            if not _put(clip[number], queue, left):
                return
    except Exception as error:  # noqa: BLE001 - it is raised again where the views are used
        _put(error, queue, left)
    else:
        _put(None, queue, left)


def _put(
    item: View | Exception | None, queue: "Queue[View | Exception | None]", left: Event
) -> bool:
    while not left.is_set():
        try:
            queue.put(item, timeout=_PATIENCE_S)
        except Full:
            continue
        return True
    return False
