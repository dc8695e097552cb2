"""A pool of processes that neither hangs when one is killed nor outlives the command."""

import collections
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class WorkerDiedError(Exception):
    """A worker process was killed, for instance because memory ran out, or crashed.

    Attributes:
        tasks: What the workers were at, as far as can be told.
    """

    def __init__(self, tasks: Sequence[Any]):
        super().__init__(f"a worker process died, at one of: {tasks}")
        self.tasks = tuple(tasks)


def in_order(
    function: Callable[[T], R],
    tasks: Iterable[T],
    workers: int,
    start: Callable[..., None],
    *arguments: Any,
) -> Iterator[R]:
    """Does tasks in processes and yields the results in the order of the tasks.

    Close it where not all results are taken: that ends the processes.

    Args:
        function: Of one task.
        tasks: Taken as they are needed, a few ahead.
        workers: Processes.
        start: Called in each process before its first task.
        arguments: For `start`.

    Raises:
        WorkerDiedError: A process ended before its task.
        Exception: What `function` raised.
    """
    # Spawned, because a fork of a process with FFmpeg's or OpenCV's threads can hang.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start, (start, arguments)
    )
    others = set(multiprocessing.active_children())
    waiting: collections.deque[tuple[T, Future[R]]] = collections.deque()
    ahead = iter(tasks)
    task = None
    finished = False
    try:
        while True:
            # Few in flight, so that memory stays bounded when one task holds up the others.
            while len(waiting) < 4 * workers and (task := next(ahead, None)) is not None:
                with deaf_to_interrupts():
                    waiting.append((task, pool.submit(function, task)))
            if not waiting:
                finished = True
                return
            yield waiting[0][1].result()
            waiting.popleft()
    except BrokenProcessPool as error:
        # None is waiting where the death came out when the next task was handed in.
        undone = [t for t, future in waiting if not _has_result(future)][:workers] or [task]
        raise WorkerDiedError(undone) from error
    finally:
        if not finished:  # or the shutdown would wait for the tasks that are being done
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _has_result(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Puts Ctrl-C off; processes started meanwhile put it off until `_start` has readied them."""
    came = []
    in_main = threading.current_thread() is threading.main_thread()
    # A handler too, because the mask is this thread's alone, and a library's thread may get the
    # signal, which would interrupt the start of a process half-way.
    usual = signal.signal(signal.SIGINT, lambda *_: came.append(1)) if in_main else None
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if in_main:
            signal.signal(signal.SIGINT, usual)
        if came:
            signal.raise_signal(signal.SIGINT)


def _start(start: Callable[..., None], arguments: Sequence[Any]) -> None:
    """Readies a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once, without a traceback
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # A killed main process must not leave workers waiting for ever.
    threading.Thread(
        target=_exit_after, args=(multiprocessing.parent_process(),), daemon=True
    ).start()
    start(*arguments)


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
