import collections
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mmadfer_jax.studies import lease
from mmadfer_jax.studies.lease import Leases, LostError, who

STALE = 0.6  # seconds

_HOLDER = """
import subprocess
import sys
import time
from pathlib import Path

from mmadfer_jax.studies.lease import Leases

held = Leases(Path(sys.argv[1]), stale_after=300).take("fold1")
child = subprocess.Popen(["sleep", sys.argv[2]], pass_fds=[held.file])
print(child.pid, flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def holder(folder, child_lives="0"):
    """A process that holds fold1, with a child that inherits the lock."""
    command = [sys.executable, "-c", _HOLDER, folder, child_lives]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        try:
            yield process
        finally:
            process.kill()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def from_elsewhere(held):
    """Makes a lease look as if another machine held it, which still lives."""
    held._owner |= {"machine": "elsewhere", "host": "elsewhere"}
    held._write()


def take_in_time(leases, name, seconds=5.0):
    """Tries until the name is got; how long that took."""
    began = time.monotonic()
    while (held := leases.take(name)) is None:
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return held, time.monotonic() - began


def test_each_name_is_got_once(tmp_path):
    got = collections.Counter()
    start = threading.Barrier(8)

    def take_all():
        leases = Leases(tmp_path)
        start.wait()
        got.update(name for name in map(str, range(50)) if leases.take(name))

    threads = [threading.Thread(target=take_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == collections.Counter(map(str, range(50)))


def test_a_released_name_is_free_and_leaves_no_file(tmp_path):
    leases, others = Leases(tmp_path), Leases(tmp_path)
    held = leases.take("fold1")
    assert others.take("fold1") is None
    held.release()
    assert list(tmp_path.iterdir()) == []
    assert others.take("fold1") is not None


def test_names_that_begin_alike_are_not_confused(tmp_path):
    leases = Leases(tmp_path)
    assert all(leases.take(name) for name in ("a", "a.1", "a-1", "a.1.2"))


def test_says_who_holds_a_name(tmp_path):
    assert who(tmp_path / "fold1") == "nobody"
    Leases(tmp_path).take("fold1")
    assert f"process {os.getpid()} of " in who(tmp_path / "fold1")


def test_what_a_killed_process_held_is_free_at_once(tmp_path):
    leases = Leases(tmp_path)
    with holder(tmp_path) as process:
        assert leases.take("fold1") is None
        process.kill()
        process.wait()
        assert take_in_time(leases, "fold1", 1.0)


def test_not_before_the_process_that_it_started_has_ended(tmp_path):
    leases = Leases(tmp_path)
    with holder(tmp_path, child_lives="0.5") as process:
        process.kill()
        process.wait()
        assert leases.take("fold1") is None
        assert not leases.is_alive("fold1")
        assert take_in_time(leases, "fold1")[1] > 0.2


def test_another_machines_name_is_taken_when_it_has_not_changed_for_long(tmp_path):
    held = Leases(tmp_path, stale_after=STALE).take("fold1")
    from_elsewhere(held)
    leases = Leases(tmp_path, stale_after=STALE)
    taken, seconds = take_in_time(leases, "fold1")
    assert seconds >= STALE
    time.sleep(STALE / 5)
    with pytest.raises(LostError, match="taken by process"):
        held.refresh()
    taken.refresh()
    held.release()  # it must not free what is another's now
    assert Leases(tmp_path).take("fold1") is None
    taken.release()
    assert list(tmp_path.iterdir()) == []


def test_one_who_has_lost_a_name_frees_nobody_elses(tmp_path):
    first = Leases(tmp_path, stale_after=STALE).take("fold1")
    from_elsewhere(first)
    second, _ = take_in_time(Leases(tmp_path, stale_after=STALE), "fold1")
    from_elsewhere(second)
    third, _ = take_in_time(Leases(tmp_path, stale_after=STALE), "fold1")
    assert (tmp_path / "fold1.2").exists()
    third.release()
    anew = Leases(tmp_path).take("fold1")
    for lost in (first, second):
        lost.release()
    assert [path.name for path in tmp_path.iterdir()] == ["fold1.0"]
    anew.release()


def test_clocks_do_not_matter(tmp_path):
    held = Leases(tmp_path, stale_after=STALE).take("fold1")
    from_elsewhere(held)
    leases = Leases(tmp_path, stale_after=STALE)
    for clock in (0, time.time() + 1e6):
        os.utime(tmp_path / "fold1.0", (clock, clock))
        assert leases.take("fold1") is None


def test_another_machines_name_stays_its_own_while_it_lives(tmp_path):
    held = Leases(tmp_path, stale_after=STALE).take("fold1")
    from_elsewhere(held)
    leases = Leases(tmp_path, stale_after=STALE)
    until = time.monotonic() + 2 * STALE
    assert leases.take("fold1") is None
    assert not leases.is_alive("fold1")
    while time.monotonic() < until:
        held.refresh()
        assert leases.take("fold1") is None
        time.sleep(0.02)
    assert leases.is_alive("fold1")


def test_one_of_many_gets_what_was_left(tmp_path):
    from_elsewhere(Leases(tmp_path, stale_after=STALE).take("fold1"))
    got = []

    def watch():
        leases = Leases(tmp_path, stale_after=STALE)
        until = time.monotonic() + 2 * STALE
        while time.monotonic() < until:
            if held := leases.take("fold1"):
                got.append(held)
            for one in got:
                with contextlib.suppress(LostError):
                    one.refresh()

    threads = [threading.Thread(target=watch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_taker_withdraws_where_another_had_taken_over_and_finished(tmp_path, monkeypatch):
    from_elsewhere(Leases(tmp_path, stale_after=STALE).take("fold1"))
    slow, quick = (Leases(tmp_path, stale_after=STALE) for _ in range(2))
    slow.take("fold1"), quick.take("fold1")
    time.sleep(STALE)
    is_left = Leases._is_left

    def meanwhile(self, path, number):
        left = is_left(self, path, number)
        if self is slow:
            taken = quick.take("fold1")
            assert taken is not None
            taken.release()
        return left

    monkeypatch.setattr(Leases, "_is_left", meanwhile)
    assert slow.take("fold1") is None
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_lock_counts_as_held_and_as_left_in_time(tmp_path):
    (tmp_path / "fold1.0").write_bytes(b'{"pid": 1')
    leases = Leases(tmp_path, stale_after=STALE)
    assert leases.take("fold1") is None
    assert who(tmp_path / "fold1") == "another process"
    assert take_in_time(leases, "fold1")[1] >= STALE / 2


def test_a_deleted_lock_is_lost(tmp_path):
    held = Leases(tmp_path, stale_after=STALE).take("fold1")
    (tmp_path / "fold1.0").unlink()
    time.sleep(STALE / 5)
    with pytest.raises(LostError, match="deleted"):
        held.refresh()


def test_a_holder_that_cannot_write_gives_up_before_others_may_take_over(tmp_path, monkeypatch):
    held = Leases(tmp_path, stale_after=STALE).take("fold1")

    def broken(*arguments):
        raise OSError("stale file handle")

    monkeypatch.setattr(lease.os, "pwrite", broken)
    began = time.monotonic()
    with contextlib.suppress(LostError):
        while time.monotonic() - began < 2 * STALE:
            held.refresh()
            time.sleep(0.02)
    assert STALE / 2 <= time.monotonic() - began < STALE
    time.sleep(STALE / 5)
    with pytest.raises(LostError, match="stale file handle"):
        held.refresh()


def test_where_nothing_can_be_locked_time_decides(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError("not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    Leases(tmp_path, stale_after=STALE).take("fold1")
    assert json.loads((tmp_path / "fold1.0").read_text())["locked"] is False
    leases = Leases(tmp_path, stale_after=STALE)
    assert take_in_time(leases, "fold1")[1] >= STALE
