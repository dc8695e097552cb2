"""The pool of processes: its order, its errors, and what becomes of it when one is killed."""

import signal
import subprocess
import sys
import threading
import time
from multiprocessing import active_children

import pytest

from data_prep import pool

MAIN = """
import os, time
from data_prep import pool
list(pool.in_order(time.sleep, [600, 600], 2, os.write, 1, b"ready\\n"))
"""


def test_ctrl_c_waits_for_the_start_of_a_process_whichever_thread_gets_it():
    release = threading.Event()
    other = threading.Thread(target=release.wait)  # a library's, with its own mask
    other.start()
    done = []

    def interrupted():
        with pool.deaf_to_interrupts():
            signal.pthread_kill(other.ident, signal.SIGINT)
            time.sleep(0.05)  # it would come out here
            done.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        release.set()
        other.join()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_results_come_in_the_order_of_the_tasks():
    assert list(pool.in_order(abs, range(-20, 0), 2, time.sleep, 0)) == [*range(20, 0, -1)]
    assert active_children() == []


def test_a_function_that_fails_ends_the_pool_with_its_error():
    results = pool.in_order(int, ["1", "one", "2"], 2, time.sleep, 0)
    assert next(results) == 1
    with pytest.raises(ValueError, match="'one'"):
        next(results)
    assert active_children() == []


def test_a_killed_worker_ends_the_pool_with_the_tasks_it_was_at():
    results = pool.in_order(time.sleep, [0, 600, 700, 800], 2, time.sleep, 0)
    next(results)
    began = time.monotonic()
    active_children()[0].kill()
    with pytest.raises(pool.WorkerDiedError) as error:
        next(results)
    assert error.value.tasks == (600, 700)
    assert time.monotonic() - began < 10
    assert active_children() == []


def test_workers_end_with_a_main_process_that_was_killed():
    with subprocess.Popen([sys.executable, "-c", MAIN], stdout=subprocess.PIPE) as process:
        assert process.stdout.read(6) == b"ready\n"  # a worker's word
        process.kill()
        process.communicate(timeout=10)  # workers hold the pipe too: it ends when they all have
