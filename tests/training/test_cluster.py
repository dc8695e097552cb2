"""Variables as schedulers set them; no scheduler is here."""

import os
import subprocess
import sys

import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.training import cluster, processes
from tests.killing import ROOT, free_port

_MEET = """
from mmadfer_jax.training import processes

with processes.joined():
    print(processes.gather("their hosts", "a process"), processes.is_primary())
"""
_SLURM = {"SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
_OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
}


@pytest.mark.parametrize(
    ("shared", "numbers"),
    [
        (_SLURM, ("SLURM_PROCID", "SLURM_LOCALID")),
        (_OPEN_MPI, ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")),
    ],
    ids=["SLURM", "Open MPI"],
)
def test_processes_of_a_scheduler_find_each_other(shared, numbers):
    environment = os.environ | shared | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment["JAX_COORDINATOR_PORT"] = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _MEET],
            env=environment | dict.fromkeys(numbers, str(index)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    said = [process.communicate(timeout=120)[0].splitlines()[-1] for process in started]
    assert said == ["['a process', 'a process'] True", "['a process', 'a process'] False"]


def test_what_cannot_be_found_out_is_said(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    message = "set JAX_COORDINATOR_ADDRESS=HOST:PORT of it, JAX_NUM_PROCESSES=[$]OMPI_COMM_WORLD"
    with pytest.raises(UserError, match=message), processes.joined():
        pass
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(UserError, match="`pip install kubernetes`"), processes.joined():
        pass


def _in_slurm(number: int, tasks: str, node: int = 0, **more: str) -> dict[str, str]:
    names = {"SLURM_LOCALID": str(number), "SLURM_NODEID": str(node)}
    return names | {"SLURM_STEP_TASKS_PER_NODE": tasks} | more


def _in_open_mpi(number: int, processes: int, **more: str) -> dict[str, str]:
    names = {"OMPI_COMM_WORLD_LOCAL_RANK": str(number)}
    return names | {"OMPI_COMM_WORLD_LOCAL_SIZE": str(processes)} | more


EIGHT = {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, None),
        (EIGHT, None),  # no scheduler: jax takes all
        (_in_slurm(3, "8(x4)", 2, **EIGHT), [3]),  # a process for each GPU
        (_in_slurm(0, "1(x4)", 2, **EIGHT), list(range(8))),  # one for each host
        (_in_slurm(1, "8,2", 1, **EIGHT), [4, 5, 6, 7]),  # of the second host's two
        (_in_slurm(3, "8(x4)", CUDA_VISIBLE_DEVICES="3"), [0]),  # --gpus-per-task=1
        (_in_slurm(1, "2", CUDA_VISIBLE_DEVICES="0,1", SLURM_GPUS_PER_TASK="2"), [0, 1]),
        (_in_slurm(1, "2", CUDA_VISIBLE_DEVICES="2,3", SLURM_TRES_PER_TASK="gres/gpu:2"), [0, 1]),
        (_in_slurm(0, "3", **EIGHT), None),  # cannot be shared evenly
        (_in_slurm(0, "odd", **EIGHT), None),
        (_in_slurm(3, "8", JAX_LOCAL_DEVICE_IDS="5", **EIGHT), None),  # the user has said it
        (_in_open_mpi(0, 1, **EIGHT), list(range(8))),
        (_in_open_mpi(5, 8, **EIGHT), [5]),
        (_in_open_mpi(0, 1), None),  # no GPU
        (_in_open_mpi(0, 1, CUDA_VISIBLE_DEVICES=""), None),  # none is to be seen
    ],
)
def test_processes_of_a_host_share_its_gpus(names, expected, monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "CUDA_", "JAX_LOCAL")):
            monkeypatch.delenv(name)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cluster, "Path", lambda _: tmp_path)
    assert cluster.own_gpus() == expected


def test_without_variables_gpus_are_counted_by_their_devices(monkeypatch, tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in _in_open_mpi(0, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cluster, "Path", lambda _: tmp_path)
    assert cluster.own_gpus() == [0, 1]
