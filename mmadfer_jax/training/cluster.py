"""What a scheduler's environment says: whether there are other processes, whose the GPUs are."""

import importlib.util
import os
import re
from pathlib import Path

from mmadfer_jax.errors import UserError


def has_other_processes(variables: tuple[str, ...]) -> bool:
    """Whether jax finds the other processes of this run by itself.

    That is on a TPU slice, in a SLURM step, an Open MPI run or an indexed job of Kubernetes.

    Args:
        variables: Of the environment, to name where what finds them is lacking.

    Raises:
        UserError: It would in Kubernetes, but needs a package; Open MPI 5 does not say enough.
    """
    names = os.environ
    if int(names.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in names:
        return "SLURM_STEP_NODELIST" in names
    if int(names.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        if "OMPI_MCA_orte_hnp_uri" not in names:
            address, count, index = variables
            raise UserError(
                f"Open MPI 5 and newer do not say where process 0 is; set {address}=HOST:PORT of "
                f"it, {count}=$OMPI_COMM_WORLD_SIZE and {index}=$OMPI_COMM_WORLD_RANK in each "
                "process"
            )
        return True
    if "JOB_COMPLETION_INDEX" in names and "KUBERNETES_SERVICE_HOST" in names:
        if importlib.util.find_spec("kubernetes") is None:
            raise UserError(
                "this is an indexed job of Kubernetes; `pip install kubernetes`, by which jax "
                f"finds the other pods, or set {', '.join(variables)}"
            )
        return True
    return (
        importlib.util.find_spec("libtpu") is not None
        and "tpu" in (names.get("JAX_PLATFORMS") or "tpu")
        and any(any(Path("/dev").glob(pattern)) for pattern in ("accel*", "vfio/[0-9]*"))
    )


def own_gpus() -> list[int] | None:
    """Which of the GPUs that this process sees are its own, from 0; None leaves that to jax.

    In a SLURM step or an Open MPI run jax takes one GPU for each process, by the number of the
    process on its host. That leaves seven of eight idle where one process has a host for itself,
    and fails where the scheduler shows each process its own GPUs alone. Here the processes of a
    host share evenly what all of them see.
    """
    names = os.environ
    place = _place_on_host()
    if place is None or names.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    visible = names.get("CUDA_VISIBLE_DEVICES")
    found = Path("/dev").glob("nvidia[0-9]*") if visible is None else visible.split(",")
    gpus = sum(bool(gpu) for gpu in found)
    number, processes = place
    by_task = "SLURM_GPUS_PER_TASK" in names or "gpu" in names.get("SLURM_TRES_PER_TASK", "")
    if gpus <= 1 or by_task:  # all that it sees
        return [*range(gpus)] or None
    if gpus % processes:
        return None
    each = gpus // processes
    return [*range(number * each, (number + 1) * each)]


def _place_on_host() -> tuple[int, int] | None:
    """The number of this process on its host and how many there are, as a scheduler tells."""
    names = os.environ
    try:
        if "SLURM_STEP_TASKS_PER_NODE" in names:
            number, node = int(names["SLURM_LOCALID"]), int(names["SLURM_NODEID"])
            return number, _tasks_per_node(names["SLURM_STEP_TASKS_PER_NODE"])[node]
        return int(names["OMPI_COMM_WORLD_LOCAL_RANK"]), int(names["OMPI_COMM_WORLD_LOCAL_SIZE"])
    except (KeyError, ValueError, IndexError):
        return None


def _tasks_per_node(text: str) -> list[int]:
    """What SLURM writes as "8(x3),4": [8, 8, 8, 4]."""
    parts = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in text.split(",")]
    if not all(parts):
        raise ValueError(text)
    return [int(part[1]) for part in parts for _ in range(int(part[2] or 1))]
