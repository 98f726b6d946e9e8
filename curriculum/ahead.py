"""Batches made ahead of the step that uses them: by another process, a thread, or not at all.

What is made does not depend on who makes it: a batch follows from its index. On the CPU another
process renders on one core while the network learns on the other; a GPU is best asked in turn.
"""

import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Any, Self

import torch

from curriculum.augmentation import augment, draw_augmentation
from curriculum.errors import TrainingStoppedError
from curriculum.stages import Augmentation
from curriculum.stream import Batch, Kitchen, Mixture, RenderedLevel, Source
from synthetic_colons.clips import dice

AHEAD = 3  # batches that may be ready and wait
_PATIENCE_S = 0.2  # how long a wait lasts before asking whether the other side still lives


class Maker(StrEnum):
    """Who makes batches."""

    INLINE = "inline"
    THREAD = "thread"
    PROCESS = "process"


class Order:
    """What to make: a stage's mixture and what is done to each of its batches."""

    def __init__(
        self, mixture: Mixture, augmentation: Augmentation, *, seed: int, stage_number: int
    ) -> None:
        self.mixture = mixture
        self.augmentation = augmentation
        self.seed, self.stage_number = seed, stage_number

    def make(self, index: int, kitchen: Kitchen) -> Batch:
        """Return batch `index` of the stage, augmented, with where it came from under `source`."""
        name, number = self.mixture.place(index)
        batch = kitchen.make(self.mixture.sources[name], number)
        generator = dice("augmentation", self.seed, self.stage_number, "batch", index)
        draw = draw_augmentation(generator, len(batch["image"]), self.augmentation)
        return {**augment(batch, draw), "source": name}


class Workshop:
    """Makes batches in order, some of them ahead; leave it with `with`."""

    def __init__(self, maker: Maker | None, *, threads: int = 1, ahead: int = AHEAD) -> None:
        """Start nothing yet: a process or a thread begins with the first batch.

        Args:
            maker: who makes them; None leaves it to `fitting_maker`.
            threads: of the other process.
            ahead: how many may wait.
        """
        self._maker, self._threads, self._ahead = maker, threads, ahead
        self._kitchen = Kitchen()
        self._process: _OtherProcess | None = None

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *reason: object) -> None:
        """End the other process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def batches(self, order: Order, indices: range) -> Iterator[Batch]:
        """Give the batches of these indices in order; may be left at any of them."""
        self._kitchen.keep(order.mixture.sources.values())
        maker = self._maker or fitting_maker(order.mixture.sources.values())
        if maker is Maker.INLINE:
            return (order.make(index, self._kitchen) for index in indices)
        if maker is Maker.THREAD:
            return _from_thread(
                lambda index: order.make(index, self._kitchen), indices, self._ahead
            )
        if self._process is None:
            self._process = _OtherProcess(self._threads)
        return self._process.batches(order, indices, self._ahead)


def fitting_maker(sources: Iterable[Source]) -> Maker:
    """Return who is best asked: rendering keeps a core busy, reading hardly does."""
    devices = {each.device for each in sources if isinstance(each, RenderedLevel)}
    if not devices:
        return Maker.THREAD
    return Maker.PROCESS if devices == {"cpu"} else Maker.INLINE


class _OtherProcess:
    """A process that is sent an order and then indices, and answers each with its batch."""

    def __init__(self, threads: int) -> None:
        # Not forked: a copy of a process whose threads hold locks may wait for them for ever.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, threads), name="batches", daemon=True
        )
        # A signal that is blocked here is blocked there from the first instruction on: Ctrl-C is
        # for this process, which asks the other one for nothing more.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._asked = 0  # batches that have been asked for and are not here yet

    def batches(self, order: Order, indices: range, ahead: int) -> Iterator[Batch]:
        while self._asked:  # by a loop that was left, for whatever reason
            self._receive()
        self._send(order)
        waiting = iter(indices)
        for index in islice(waiting, ahead):
            self._ask(index)
        for _ in indices:
            answer = self._receive()
            if isinstance(answer, Exception):
                raise answer
            for index in islice(waiting, 1):
                self._ask(index)
            yield answer

    def close(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    def _ask(self, index: int) -> None:
        self._send(index)
        self._asked += 1

    def _send(self, message: object) -> None:
        try:
            self._pipe.send_bytes(pickle.dumps(message))
        except OSError as error:
            raise self._death() from error

    def _receive(self) -> Batch | Exception:
        try:
            answer: Batch | Exception = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._death() from error
        self._asked -= 1
        return answer

    def _death(self) -> TrainingStoppedError:
        self._process.join(timeout=_PATIENCE_S)
        return TrainingStoppedError(
            f"the process that makes batches has ended (exit code {self._process.exitcode}; -9 is"
            " mostly the system out of memory); what it said stands above"
        )


def _serve(pipe: Any, threads: int) -> None:
    """Answer until the other end is gone."""
    threading.Thread(target=_end_with_parent, daemon=True, name="watch").start()
    torch.set_num_threads(threads)
    kitchen = Kitchen()
    order: Order | None = None
    while True:
        try:
            message = pickle.loads(pipe.recv_bytes())
            if isinstance(message, Order):
                order = message
                kitchen.keep(order.mixture.sources.values())
                continue
            assert order is not None
            answer: object
            try:
                answer = order.make(message, kitchen)
            except Exception as error:  # noqa: BLE001 - it is raised again where it is used
                answer = error
            pipe.send_bytes(pickle.dumps(answer))
        except (EOFError, OSError):
            return


def _end_with_parent() -> None:
    """Leave a batch half rendered when nobody is left who would use it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _from_thread(make: Callable[[int], Batch], indices: range, ahead: int) -> Iterator[Batch]:
    ready: queue.Queue[Batch | Exception] = queue.Queue(maxsize=ahead)
    left = threading.Event()

    def put(item: Batch | Exception) -> bool:
        while not left.is_set():
            try:
                ready.put(item, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return True
        return False

    def fill() -> None:
        for index in indices:
            try:
                item: Batch | Exception = make(index)
            except Exception as error:  # noqa: BLE001 - it is raised again where it is used
                item = error
            if not put(item) or isinstance(item, Exception):
                return

    thread = threading.Thread(target=fill, daemon=True, name="batches")
    thread.start()
    try:
        for _ in indices:
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        left.set()
        thread.join()
