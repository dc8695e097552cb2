import platform
import subprocess
import sys

import pytest

from mmadfer_jax.training import host_memory
from tests.killing import ROOT

_FAULTS = """
import resource
import sys

import numpy as np

from mmadfer_jax.training import host_memory

if "keep" in sys.argv:
    print(host_memory.keep_freed())


def faults():
    np.ones(25_000_000)  # 200 MB, which are freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


first = faults()
print(faults() - first)
"""


def test_memory_that_is_freed_is_taken_again_without_asking_the_system():
    def said(*arguments):
        command = [sys.executable, "-c", _FAULTS, *arguments]
        return subprocess.check_output(command, text=True, cwd=ROOT).split()

    kept, few = said("keep")
    (many,) = said()
    assert kept == str(platform.libc_ver()[0] == "glibc")  # no other C library can be told to
    if kept == "True":
        assert int(few) < int(many) / 4


@pytest.mark.parametrize(
    ("platforms", "packages", "plugins", "expected"),
    [
        ("", (), (), False),
        ("", ("libtpu",), (), True),
        ("", ("jax_plugins",), (), True),
        ("cuda,cpu", (), ("xla_cuda13",), True),
        ("cpu", ("libtpu",), ("xla_cuda13",), False),
    ],
)
def test_whether_there_may_be_an_accelerator_is_asked_without_starting_one(
    platforms, packages, plugins, expected, monkeypatch
):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(host_memory, "find_spec", lambda name: name in packages)
    monkeypatch.setattr(host_memory, "entry_points", lambda group: plugins)
    assert host_memory.may_compute_elsewhere() == expected
