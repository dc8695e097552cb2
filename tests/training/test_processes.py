import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.trained import load_model
from mmadfer_jax.training import processes
from tests.bucket import bucket
from tests.conftest import SMALL, set_model, small_settings
from tests.killing import ROOT, Life, Trial, differences, free_port, leftovers, write_model
from tests.sizes import changed

EPOCHS = 4
MODEL = changed(SMALL, depth=1, heads=4, stages=1, temporal_depth=1)
MESHES = {
    "fsdp": {"data": 1, "fsdp": 4, "tensor": 1},
    "tensor": {"data": 1, "fsdp": 1, "tensor": 4},
    "mixed": {"data": 2, "fsdp": 1, "tensor": 2},
}


def _settings(data: Path, model: Path, mesh: str):
    config = small_settings(data)
    set_model(config, MODEL)
    config.init_from = str(model)
    config.mesh.update(MESHES[mesh])
    config.train.update({"batch_size": 4, "epochs": 1, "learning_rate": 1e-3})
    config.checkpoint.every_steps = 3
    return config


_WORKER = """
import json
import sys
from pathlib import Path

import jax

from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.train import train
from mmadfer_jax.training import processes
from tests.training.test_processes import _settings

folder, data, coordinator, count, index, devices, *meshes = sys.argv[1:]
jax.config.update("jax_num_cpu_devices", int(devices))
read = RecordSource.__getitem__
with processes.joined(coordinator, int(count), int(index)):
    for mesh in meshes:
        opened = []
        def noted(source, place):
            opened.append(source.ids[place])
            return read(source, place)
        RecordSource.__getitem__ = noted
        model = Path(folder, "model.safetensors")
        results = train(_settings(Path(data), model, mesh), Path(folder, mesh))
        said = {"opened": opened, "uar": results["uar"], "clips": results["clips"]}
        Path(folder, f"{mesh}.{index}.json").write_text(json.dumps(said))
"""


def _start(commands: list[list], **options) -> list[tuple[int, str]]:
    """Runs commands side by side; the exit status and the output of each."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            **pipes,
            **{k: v[i] for k, v in options.items()},
        )
        for i, command in enumerate(commands)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    return [(process.returncode, text) for process, text in zip(started, outputs, strict=True)]


def _together(folder: Path, data: Path, count: int, devices: int, meshes: tuple[str, ...]) -> None:
    """Trains with each mesh in turn, all in the same processes."""
    (script := folder / "worker.py").write_text(_WORKER)
    write_model(folder / "model.safetensors", MODEL)
    command = [script, folder, data, f"localhost:{free_port()}", str(count)]
    commands = [[*command, str(index), str(devices), *meshes] for index in range(count)]
    for code, output in _start(commands):
        assert code == 0, output


def _trained(workdir: Path) -> tuple[list[dict], dict[str, np.ndarray], str]:
    history = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return history, load_model(workdir).params, (workdir / "report/predictions.csv").read_text()


@pytest.mark.parametrize(
    ("count", "devices", "meshes"), [(2, 2, ("fsdp", "mixed")), (4, 1, ("tensor",))]
)
def test_processes_train_the_model_of_one_process(tmp_path, small_dataset, count, devices, meshes):
    (alone_folder := tmp_path / "alone").mkdir()
    (folder := tmp_path / "together").mkdir()
    _together(alone_folder, small_dataset, 1, count * devices, meshes)
    _together(folder, small_dataset, count, devices, meshes)
    for mesh in meshes:
        alone = alone_folder / mesh
        history, params, predictions = _trained(folder / mesh)
        expected_history, expected_params, expected_predictions = _trained(alone)
        for row, expected in zip(history, expected_history, strict=True):
            assert row == pytest.approx(expected, rel=2e-5, abs=1e-7), mesh
        for name, value in expected_params.items():
            np.testing.assert_allclose(params[name], value, rtol=0, atol=2e-5, err_msg=name)
        # One report, and 7 test clips in batches of 4 are counted once each.
        assert [line.split(",")[:3] for line in predictions.splitlines()] == [
            line.split(",")[:3] for line in expected_predictions.splitlines()
        ]
        said = [json.loads((folder / f"{mesh}.{i}.json").read_text()) for i in range(count)]
        assert {tuple(sorted((k, v) for k, v in row.items() if k != "opened")) for row in said} == {
            (("clips", 7), ("uar", said[0]["uar"]))
        }
        opened = [sorted(row["opened"]) for row in said]
        if mesh == "tensor":  # every device sees every clip
            assert opened[0] == opened[1] == opened[2] == opened[3]
            assert len(opened[0]) == 20 + 7
        else:  # each process opens what it feeds, and no other
            assert sum(map(len, opened)) == 20 + 7
            assert max(map(len, opened)) - min(map(len, opened)) <= 2
            assert len(set().union(*opened)) == 20 + 7
    assert leftovers(tmp_path) == []


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Trial:
    """A run of two processes that was left alone, and others after it."""
    trial = Trial(tmp_path_factory.mktemp("trial"), epochs=EPOCHS, processes=2, devices=2)
    trial.finish("alone")
    return trial


def _failed(life: Life, seconds: float = 60) -> list[str]:
    """What the processes said at their end, which must be a bad one for each and come in time."""
    codes = life.end(seconds)
    assert codes == [1, 1], [life.text(0), life.text(1)]
    said = [life.text(index) for index in range(len(codes))]
    for text in said:
        assert text.count("error: ") == 1, text
        assert "Traceback" not in text
    return said


_FULL_DISK = """
import shutil

usage = shutil.disk_usage
shutil.disk_usage = lambda path: usage(path)._replace(free=1000)
"""


def test_one_failing_process_ends_all_and_the_same_command_goes_on(trial, tmp_path, monkeypatch):
    # One is killed.
    life = trial.start("failing")
    assert life.kill_at("training", random.Random(0)) is not None
    survivor = next(i for i, process in enumerate(life.processes) if process.returncode != -9)
    assert f"error: process {1 - survivor} on " in life.text(survivor)
    assert "has died" in life.text(survivor)

    # One has no room.
    (tmp_path / "sitecustomize.py").write_text(_FULL_DISK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    first, second = _failed(trial.start("failing"))
    assert "MB free and a checkpoint takes" in first
    assert "process 0 on" in second
    assert "MB free and a checkpoint takes" in second
    monkeypatch.undo()

    # One is told to end.
    life = trial.start("failing")
    life.until("training", random.Random(1))
    life.processes[1].send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert life.end() == [processes.PREEMPTED] * 2
    assert time.monotonic() - began < 20
    assert "is saved, the same command goes on" in life.text(0)

    last = trial.finish("failing")
    assert "Traceback" not in last.text()
    assert differences(trial.run("failing"), trial.run("alone")) == []


def test_a_run_in_a_bucket_is_preempted_and_goes_on_to_the_same_numbers(trial):
    with bucket("runs-of-processes") as url:
        there = f"--workdir={url}/run"
        life = trial.start("in a bucket", there)
        life.until("training", random.Random(3))
        life.processes[0].send_signal(signal.SIGTERM)
        assert life.end() == [processes.PREEMPTED] * 2
        last = trial.finish("in a bucket", there)
        assert "going on after step" in last.text()
        found, expected = load_model(f"{url}/run"), load_model(trial.run("alone"))
        assert found.step == expected.step
        for name, value in expected.params.items():
            np.testing.assert_array_equal(found.params[name], value, err_msg=name)
        for name in ("metrics.jsonl", "report/predictions.csv"):
            there = files.read_text(files.as_path(f"{url}/run/{name}"))
            assert there == (trial.run("alone") / name).read_text()


def test_a_process_that_is_stopped_ends_the_others(trial):
    life = trial.start("stopped", "--timeout=20")
    life.until("training", random.Random(1))
    life.processes[1].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert life.processes[0].wait(60) == 1
    assert time.monotonic() - began < 35
    life.processes[1].send_signal(signal.SIGCONT)
    assert life.end(30)[1] == 1
    assert "process 1 on" in life.text(0)
    assert "has not answered for 20 s" in life.text(0)


def test_a_corrupt_shard_of_one_process_ends_all_with_its_error(trial, tmp_path):
    for name in ("data0", "data1"):
        shutil.copytree(trial.run("alone").parent.parent / "data", tmp_path / name)
    flag = f"--config.data.dir={tmp_path}/data{{process}}"
    for shard in (tmp_path / "data1").glob("*train*.tfrecord*"):
        content = bytearray(shard.read_bytes())
        for place in range(200, len(content), 997):
            content[place] ^= 1
        shard.write_bytes(content)
    first, second = _failed(trial.start("corrupt", flag))
    assert "error: process 1 on" in first
    assert "failed: " in first
    reason = second[second.index("error: ") + len("error: ") :].splitlines()[0]
    assert reason in first
    assert "corrupt record" in reason


_HANGS = """
import sys, time

if "--process=1" in sys.orig_argv:
    from mmadfer_jax.data import records

    records.RecordSource.__getitem__ = lambda source, place: time.sleep(1000)
"""


def test_a_hung_read_of_one_process_ends_all_and_says_where(trial, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(_HANGS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    for text in _failed(trial.start("hung", "--timeout=20"), 90):
        assert "no process has gone on for 20 s; furthest behind: process 1 on" in text


def test_processes_with_other_settings_are_refused(trial):
    said = _failed(trial.start("other", "--config.seed={process}"))
    for text in said:
        assert "the processes differ in their settings: seed is 0 in process 0 and 1" in text


def test_processes_evaluate_together(trial, tmp_path):
    run = trial.run("alone")
    command = ["-m", "mmadfer_jax.evaluate", run, f"--out={tmp_path}/out", "--batch_size=3"]
    command += [f"--data={run.parent.parent}/data", f"--coordinator=localhost:{free_port()}"]
    command += ["--processes=2", "--probe=modalities"]
    (code, first), second = _start([[*command, f"--process={index}"] for index in range(2)])
    assert code == second[0] == 0, first + second[1]
    assert first.count("report: ") == 1
    assert "report: " not in second[1]
    found = (tmp_path / "out/predictions.csv").read_text()
    expected = (run / "report/predictions.csv").read_text()
    assert [line.split(",")[:3] for line in found.splitlines()] == [
        line.split(",")[:3] for line in expected.splitlines()
    ]
    assert first.count("What the model relies on") == 1
    assert "What the model relies on" not in second[1]
    probes = (tmp_path / "out/probes.csv").read_text().splitlines()
    assert len(probes) == len(found.splitlines())


_SHARED = """
import sys
from pathlib import Path

from mmadfer_jax.training import processes

with processes.joined(sys.argv[1], 2, int(sys.argv[2])):
    Path("run").mkdir()
    processes.check_shared(Path("run"))
"""


def test_a_work_directory_of_each_hosts_own_is_refused(tmp_path):
    (script := tmp_path / "shared.py").write_text(_SHARED)
    folders = [tmp_path / "host0", tmp_path / "host1"]
    for folder in folders:
        folder.mkdir()
    address = f"localhost:{free_port()}"
    for code, text in _start([[script, address, str(i)] for i in range(2)], cwd=folders):
        assert code == 1
        assert "process 1 does not see what process 0 writes to run" in text
    assert leftovers(tmp_path) == []


def test_a_run_goes_on_with_other_processes_and_devices(tmp_path):
    trial = Trial(tmp_path, epochs=EPOCHS, processes=2, devices=4)
    more = ("--config.train.batch_size=8", "--config.eval.batch_size=8")
    trial.finish("alone", *more, processes=1, devices=8)
    life = trial.start("begun", *more)
    life.until("training", random.Random(2))
    life.processes[0].send_signal(signal.SIGTERM)
    assert life.end() == [processes.PREEMPTED] * 2
    expected = _trained(trial.run("alone"))
    for count, devices in ((1, 1), (1, 8), (4, 2)):
        name = f"on{count}x{devices}"
        shutil.copytree(trial.run("begun"), trial.run(name))
        last = trial.finish(name, *more, processes=count, devices=devices)
        assert "going on after step" in last.text()
        history, params, _ = _trained(trial.run(name))
        for row, wanted in zip(history, expected[0], strict=True):
            assert row == pytest.approx(wanted, rel=2e-5, abs=1e-7), name
        for path, value in expected[1].items():
            np.testing.assert_allclose(params[path], value, rtol=0, atol=2e-5, err_msg=path)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("host:1", None, None), {}, "--processes, --process missing"),
        ((None, 2, 0), {}, "--coordinator missing"),
        (("host", 2, 0), {}, "--coordinator=host; expected HOST:PORT"),
        (("host:1", 2, 2), {}, "--process=2 of 2 processes; expected 0 to 1"),
        ((None, None, None), {"JAX_COORDINATOR_ADDRESS": "host:1"}, "JAX_NUM_PROCESSES, JAX_PROC"),
        (
            (None, None, None),
            {
                "JAX_COORDINATOR_ADDRESS": "host:1",
                "JAX_NUM_PROCESSES": "two",
                "JAX_PROCESS_ID": "0",
            },
            "have to be whole numbers",
        ),
    ],
)
def test_what_does_not_say_how_many_is_refused(arguments, environment, message, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message), processes.joined(*arguments):
        pass


def test_processes_that_do_not_all_come_are_told(trial):
    for index in range(2):
        flags = (f"--coordinator=localhost:{free_port()}", "--processes=2", f"--process={index}")
        life = trial.start("lonely", *flags, "--timeout=2", processes=1)
        assert life.end(60) == [1]
        assert life.text().startswith("error: the processes of this run have not found each other")
        assert life.text().count("\n") == 1


def test_one_process_needs_no_others():
    with processes.joined("host:1", 1, 0):
        assert processes.gather("anything", 3) == [3]
    with processes.joined():
        assert processes.is_primary()


def test_sigterm_lets_one_process_save_and_end(tmp_path):
    trial = Trial(tmp_path, epochs=EPOCHS)
    trial.finish("alone")
    for moment in ("training", "evaluating"):
        life = trial.start("preempted")
        life.until(moment, random.Random(0))
        life.processes[0].terminate()
        assert life.end() == [processes.PREEMPTED]
        assert "is saved, the same command goes on" in life.text()
    trial.finish("preempted")
    assert differences(trial.run("preempted"), trial.run("alone")) == []
