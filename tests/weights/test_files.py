import argparse
import json
import os
import pickle
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch

from mmadfer_jax.errors import UserError
from mmadfer_jax.weights.files import read_tensors, write_safetensors
from tests.foreign_files import save_torch

TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(1, np.float32)}


class RecorderMeter:
    """Stands for the class of the authors' training program."""

    def __init__(self):
        self.epoch_losses = np.zeros((25, 2), np.float32)
        self.best = np.float64(77.5)
        self.epochs = [1, 2]


class Hostile:
    """Creates a file when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def assert_holds_tensors(file):
    assert file.tensors.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(file.tensors[name], expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("container", [None, "model", "state_dict"])
def test_a_pickle_gives_its_tensors_whatever_lies_beside_them(tmp_path, container, zipped):
    content = {name: torch.from_numpy(x) for name, x in TENSORS.items()}
    if container:
        content = {
            container: content,
            "args": argparse.Namespace(lr=1e-4, name="run", folds=[1, 2]),
            "recorder": RecorderMeter(),
            "best_acc": torch.tensor(77.5),
            "optimizer": {"state": {}, "param_groups": [{"params": [0]}]},
        }
    path = tmp_path / "weights.safetensors"  # its name says nothing
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    file = read_tensors(path)
    assert file.container == container
    assert_holds_tensors(file)


def test_safetensors_and_npz_are_told_by_their_content(tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "a.pth")
    np.savez(tmp_path / "b.npz", **TENSORS)
    (tmp_path / "b.npz").rename(tmp_path / "b.bin")
    assert_holds_tensors(read_tensors(tmp_path / "a.pth"))
    assert_holds_tensors(read_tensors(tmp_path / "b.bin"))


def test_bfloat16_arrays_of_an_npz_come_back(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([1.5, -2], ml_dtypes.bfloat16))
    found = read_tensors(tmp_path / "a.npz").tensors["x"]
    np.testing.assert_array_equal(found.astype(np.float32), [1.5, -2])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, zipped):
    target, path = tmp_path / "made_by_the_pickle", tmp_path / "evil.pth"
    content = {"state_dict": {"a": torch.ones(1)}, "epoch": Hostile(target)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"would import \w+\.mkdir; refused, nothing was run"):
        read_tensors(path)
    assert not target.exists()
    torch.load(path, weights_only=False)  # it is hostile indeed
    assert target.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_plain_pickle_is_refused_and_nothing_runs(tmp_path, protocol):
    target, path = tmp_path / "made_by_the_pickle", tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"a": Hostile(target)}, protocol=protocol))
    with pytest.raises(UserError, match=r"would import|neither a PyTorch pickle"):
        read_tensors(path)
    assert not target.exists()


def test_the_class_behind_a_harmless_name_is_never_made(tmp_path, monkeypatch):
    torch.save({"model": {"a": torch.ones(1)}, "recorder": RecorderMeter()}, tmp_path / "a.pth")

    def fail(self, *args):
        raise AssertionError("the class of the pickle was used")

    monkeypatch.setattr(RecorderMeter, "__new__", fail)
    monkeypatch.setattr(RecorderMeter, "__setstate__", fail, raising=False)
    assert list(read_tensors(tmp_path / "a.pth").tensors) == ["a"]


def test_an_npz_with_python_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="holds Python objects"):
        read_tensors(tmp_path / "a.npz")


def _torch_zip(path):
    torch.save({n: torch.from_numpy(x) for n, x in TENSORS.items()}, path)


def _torch_legacy(path):
    tensors = {n: torch.from_numpy(x) for n, x in TENSORS.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def _safetensors(path):
    safetensors.numpy.save_file(TENSORS, path)


def _npz(path):
    with path.open("wb") as file:
        np.savez(file, **TENSORS)


@pytest.mark.parametrize("write", [_torch_zip, _torch_legacy, _safetensors, _npz])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(tmp_path, write, kept):
    path = tmp_path / "a.pth"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match="damaged or truncated"):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file", b"\x00" * 64])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError, match="neither a PyTorch pickle"):
        read_tensors(tmp_path / "a.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no such file: .*nothing\.pth"):
        read_tensors(tmp_path / "nothing.pth")


def test_entries_that_are_no_tensors_are_named(tmp_path):
    torch.save({"model": {"a": torch.ones(1), "rate": 3}}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="entries that are no tensors: rate"):
        read_tensors(tmp_path / "a.pth")
    torch.save([torch.ones(1)], tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds a list; expected a dict of tensors"):
        read_tensors(tmp_path / "a.pth")


def test_a_pinned_file_is_that_file(tmp_path):
    path = save_torch(tmp_path / "a.pth", TENSORS)
    sha256 = read_tensors(path).sha256
    assert_holds_tensors(read_tensors(path, sha256.upper()))
    with pytest.raises(UserError, match=rf"has SHA-256 {sha256}; expected {'0' * 64}"):
        read_tensors(path, "0" * 64)


def test_our_own_files_come_back_and_say_what_they_are(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"x": TENSORS["a.weight"].T}, {"kind": "mae"})
    file = read_tensors(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(file.tensors["x"], TENSORS["a.weight"].T)
    assert file.own == {"format": 1, "kind": "mae"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("text", "message"),
    [(json.dumps({"format": 2}), "has format 2"), ("{", "is broken"), ("[]", "is broken")],
)
def test_an_unreadable_own_entry_is_refused(tmp_path, text, message):
    safetensors.numpy.save_file(TENSORS, tmp_path / "a", {"mmadfer_jax": text})
    with pytest.raises(UserError, match=message):
        _ = read_tensors(tmp_path / "a").own


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.ones(1)}, {})
    old = path.read_bytes()

    def full_disk(tensors, target, metadata):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_safetensors(path, {"x": np.zeros(1)}, {})
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_without_torch_a_pickle_says_what_to_install(tmp_path, monkeypatch):
    path = save_torch(tmp_path / "a.pth", TENSORS)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install torch==2\.13\.0"):
        read_tensors(path)


def test_torch_is_imported_for_pickles_alone(tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "a")
    _npz(tmp_path / "b")
    program = (
        "import sys; from mmadfer_jax.weights.files import read_tensors\n"
        "for path in sys.argv[1:]: read_tensors(path)\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a"), str(tmp_path / "b")]
    subprocess.run(command, check=True, timeout=120)
