import argparse
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile

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


def torch_tensors(more=0.0):
    return {name: torch.from_numpy(x + np.float32(more)) for name, x in TENSORS.items()}


OPTIMIZER = {
    "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2, 3)}},
    "param_groups": [{"lr": 1e-4, "params": [0]}],
}
LIGHTNING = {
    "epoch": 3,
    "pytorch-lightning_version": "2.5.0",
    "loops": {"fit_loop": {"state_dict": {}}},
    "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
    "optimizer_states": [OPTIMIZER],
    "lr_schedulers": [{"last_epoch": 3}],
    "hyper_parameters": {"lr": 1e-4, "sizes": [1, 2]},
}
DEEPSPEED = {
    "buffer_names": [],
    "optimizer": OPTIMIZER,
    "param_shapes": [{"a.weight": torch.Size([2, 3])}],
    "global_steps": 5,
}


@pytest.mark.parametrize(
    ("content", "container"),
    [
        ({"state_dict": torch_tensors(), **LIGHTNING}, "state_dict"),
        ({"module": torch_tensors(), **DEEPSPEED}, "module"),
        ({"model": torch_tensors(), "model_ema": torch_tensors(1)}, "model"),
        ({"state_dict_ema": torch_tensors(1), "state_dict": torch_tensors()}, "state_dict"),
        ({"net": torch_tensors(), "ema": torch_tensors(1), "optimizer": OPTIMIZER}, "net"),
        ({"model_ema": torch_tensors(), "best": torch.tensor(0.5)}, "model_ema"),
        ({"teacher": torch_tensors(), "epoch": 3}, "teacher"),
        ({"checkpoint": {"model": torch_tensors(), "optimizer": OPTIMIZER}}, "checkpoint.model"),
        ({"a": {"b": {"weights": torch_tensors()}}, "args": {"lr": 1}}, "a.b.weights"),
        ({"model": {"net": torch_tensors(), "ema": torch_tensors(1)}}, "model.net"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_weights_are_found_among_what_training_programs_save(tmp_path, content, container):
    torch.save(content, tmp_path / "a.ckpt")
    file = read_tensors(tmp_path / "a.ckpt")
    assert file.container == container
    assert_holds_tensors(file)


@pytest.mark.parametrize("names", [("student", "teacher"), ("generator", "critic")])
def test_of_two_sets_of_tensors_none_is_taken(tmp_path, names):
    torch.save({names[0]: torch_tensors(), names[1]: torch_tensors(1)}, tmp_path / "a")
    expected = rf"holds 2 sets of tensors, under {names[0]}, {names[1]}; save the one you want"
    with pytest.raises(UserError, match=expected):
        read_tensors(tmp_path / "a")


def test_a_training_state_without_weights_is_refused(tmp_path):
    torch.save({"optimizer": OPTIMIZER, "epoch": 3}, tmp_path / "a")
    with pytest.raises(UserError, match="entries that are no tensors: optimizer, epoch; expected"):
        read_tensors(tmp_path / "a")


def test_an_object_of_torch_is_refused_without_its_advice(tmp_path):
    kind = torch.optim.lr_scheduler.StepLR
    schedule = kind.__new__(kind)
    torch.save({"model": torch_tensors(), "schedule": schedule}, tmp_path / "a")
    with pytest.raises(UserError, match=r"it names torch\.optim\S+\. A file of weights") as error:
        read_tensors(tmp_path / "a")
    assert "weights_only" not in str(error.value)


def test_tensors_that_are_no_arrays_are_named_with_what_they_are(tmp_path):
    odd = {
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.ones(3, device="meta"),
        "int8": torch.ones(3).to(torch.float8_e4m3fn),
    }
    torch.save({"state_dict": torch_tensors() | odd}, tmp_path / "a")
    expected = (
        r"no arrays of numbers: sparse \(sparse, torch\.sparse_coo\), meta \(without values, on "
        r"the meta device\), int8 \(quantised, torch\.float8_e4m3fn\)\. Take the file it was made"
    )
    with pytest.raises(UserError, match=expected):
        read_tensors(tmp_path / "a")


def test_views_of_torch_are_their_numbers(tmp_path):
    tensors = torch_tensors()
    tensors["a.weight"] = torch.nn.Parameter(torch._neg_view(-tensors["a.weight"].T.contiguous()).T)
    torch.save({"state_dict": tensors}, tmp_path / "a")
    assert_holds_tensors(read_tensors(tmp_path / "a"))


def write_raw_safetensors(path, header, data):
    header = header.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def entry(dtype="F32", shape="[1]", offsets="[0, 4]"):
    return f'{{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}'


TWO = entry(shape="[2]", offsets="[0, 8]")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (f'{{"a": {entry()}, "a": {entry(offsets="[4, 8]")}}}', "damaged"),
        (f'{{"a": {entry(shape="[4611686018427387904, 8]", offsets="[0, 8]")}}}', "damaged"),
        (f'{{"a": {entry(shape="[-1]", offsets="[0, 8]")}}}', "damaged"),
        (f'{{"a": {entry("F8_E4M3", "[8]", "[0, 8]")}}}', r"a \(quantised, F8_E4M3\)"),
        (f'{{"a": {entry("I3", "[8]", "[0, 8]")}}}', "damaged"),
        (f'{{"b": {TWO}, "a": {entry(shape="[0, 8]", offsets="[8, 8]")}}}', "elements: a"),
    ],
    ids=["twice", "huge", "negative", "8 bits", "unknown type", "empty"],
)
def test_absurd_safetensors_are_refused(tmp_path, header, message):
    write_raw_safetensors(tmp_path / "a", header, bytes(8))
    with pytest.raises(UserError, match=message):
        read_tensors(tmp_path / "a")


def npy(shape, data=bytes(4)):
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.npy", npy((1,))), ("a.npy", npy((1,)))], "two arrays are called a"),
        ([("a.npy", npy((10**14,)))], "damaged"),
        ([("a.npy", npy((2**40, 2**40)))], "damaged"),
        ([("a.npy", npy((-1,)))], "damaged"),
        ([("a.npy", b"hello")], "damaged"),
        ([("b.npy", npy((1,))), ("a.npy", npy((0, 4), b""))], "1 tensors without elements: a"),
    ],
    ids=["twice", "huge", "huger", "negative", "no array", "empty"],
)
def test_absurd_npz_files_are_refused(tmp_path, members, message):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a", "w") as archive:
        warnings.simplefilter("ignore")  # zipfile's, of the name that is there twice
        for name, content in members:
            archive.writestr(name, content)
    with pytest.raises(UserError, match=message):
        read_tensors(tmp_path / "a")


def test_weights_that_lie_in_other_files_are_missed_by_name(tmp_path):
    """DeepSpeed's third stage leaves empty tensors in the file of the model."""
    torch.save({"module": {n: x[:0] for n, x in torch_tensors().items()}}, tmp_path / "a")
    expected = r"2 tensors without elements: a\.weight, b\. .*zero_to_fp32\.py"
    with pytest.raises(UserError, match=expected):
        read_tensors(tmp_path / "a")


def test_a_file_without_tensors_is_refused(tmp_path):
    safetensors.numpy.save_file({}, tmp_path / "a")
    with pytest.raises(UserError, match="holds no tensors"):
        read_tensors(tmp_path / "a")


def test_of_a_directory_the_file_to_name_is_said(tmp_path):
    with pytest.raises(UserError, match="is a directory without weights; name a file"):
        read_tensors(tmp_path)
    for name in ("optimizer.pt", "config.json", "model.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"")
    expected = rf"name the file of weights in it: {tmp_path}/model\.safetensors, "
    with pytest.raises(UserError, match=expected) as error:
        read_tensors(tmp_path)
    assert "config" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "is one of 2 parts of a sharded model; "),
        ("model-00001-of-00002.safetensors", "is one of 2 parts of a sharded model; "),
        ("pytorch_model-00002-of-00002.bin", "is one of 2 parts of a sharded model; "),
        ("model.safetensors.index.json", "lists the parts of a sharded model; "),
    ],
)
def test_parts_of_a_model_are_to_be_joined_first(tmp_path, given, message):
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for name in (*names, "pytorch_model-00002-of-00002.bin", "model.safetensors.index.json"):
        (tmp_path / name).write_text("{}")
    expected = rf"{message}.*from_pretrained\('{tmp_path}'\)\.save_pretrained\(NEW"
    with pytest.raises(UserError, match=expected):
        read_tensors(tmp_path / given)
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(UserError, match=rf"in it: {tmp_path}/model\.safetensors, "):
        read_tensors(tmp_path)


def test_a_model_in_one_part_is_whole(tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "model-00001-of-00001.safetensors")
    assert_holds_tensors(read_tensors(tmp_path / "model-00001-of-00001.safetensors"))


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
    assert file.own == {"format": 3, "kind": "mae"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("text", "message"),
    [(json.dumps({"format": 1}), "has format 1"), ("{", "is broken"), ("[]", "is broken")],
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
