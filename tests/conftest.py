import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import Record, ShardWriter
from mmadfer_jax.models.config import ModelConfig
from tests.sizes import changed

SMALL = changed(
    ModelConfig(),
    num_classes=3,
    num_frames=4,
    image_shape=32,
    image_patch=16,
    image_stride=16,
    audio_shape=(64, 128),
    audio_patch=(16, 32),
    audio_stride=(16, 32),
    width=24,
    depth=2,
    heads=3,
    mlp_dim=48,
    prompts=2,
    stages=2,
    bottleneck=8,
    temporal_width=16,
    temporal_depth=2,
    temporal_heads=2,
    temporal_head_dim=8,
    temporal_mlp_dim=32,
    drop_path=0.1,
)


# Most of a test's time is compiling. XLA does it in a third of the time without what makes programs
# fast, and what is compiled is kept for every process of the session, with a limit because only
# then one process waits while another writes.
IN_A_HURRY = {"xla_backend_optimization_level": 0}
AS_USERS_COMPILE = {"xla_backend_optimization_level": 3}
if jax.__version_info__ < (0, 11):  # later ones have no other way
    IN_A_HURRY["xla_cpu_use_fusion_emitters"] = False
    AS_USERS_COMPILE["xla_cpu_use_fusion_emitters"] = True
XLA_FLAGS = " ".join(f"--{name}={value}" for name, value in IN_A_HURRY.items())
_COMPILING = {
    "XLA_FLAGS": XLA_FLAGS,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(1 << 33),
}


def pytest_configure(config: pytest.Config):
    if not hasattr(config, "workerinput"):  # else the environment is that of this process
        os.environ.update(_COMPILING)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder = tempfile.mkdtemp(prefix="compiled_")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    for name in ("compilation_cache_dir", "compilation_cache_max_size"):
        value = os.environ[f"JAX_{name.upper()}"]
        jax.config.update(f"jax_{name}", int(value) if value.isdigit() else value)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # Four devices on the CPU, so that sharded and unsharded runs can be compared.
    jax.config.update("jax_num_cpu_devices", 4)
    # A shape that broadcasts by accident is an error.
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def small_model() -> ModelConfig:
    return SMALL


def make_record(split: str, number: int, classes: int, label: int | None = None) -> Record:
    """A clip of random pictures in the colour of its class; every fourth is silent."""
    rng = np.random.default_rng([ord(split[-1]), number])
    label = number % classes if label is None else label
    frames = rng.integers(0, 100, (5 + number % 3, 32, 32, 3), np.uint8)
    frames[:, :, :, label % 3] += 120  # so that there is something to learn
    spectrogram = rng.standard_normal((60, 128)).astype(np.float16) if number % 4 else None
    return Record(
        id=f"{split}_{number}",
        label=label,
        frames=[encode_jpeg(frame, 95) for frame in frames],
        spectrogram=spectrogram,
        sample_rate=0 if spectrogram is None else 16000,
        num_frames=len(frames),
        source=f"{number}.mp4",
    )


def write_small_dataset(directory: Path) -> None:
    """22 training clips and 7 test clips of three classes, two shards a split."""
    counts = {"train": 22, "test": 7}
    for split, count in counts.items():
        for shard in range(2):
            with ShardWriter(directory, split, shard, 2, "small") as writer:
                for number in range(shard, count, 2):
                    writer.write(make_record(split, number, 3))
    DatasetInfo(
        name="small",
        classes=("red", "green", "blue"),
        splits=counts,
        image_size=32,
        preparation=PrepareSettings(image_size=32).to_dict(),
    ).save(directory)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("small_dataset")
    write_small_dataset(directory)
    return directory


def set_model(config: ConfigDict, model: ModelConfig) -> None:
    """Gives a config the sizes of a model; the number of classes is the data's."""
    values = dataclasses.asdict(model)
    for side in ("image", "audio"):
        config.model[side].update(values.pop(side))
    del values["num_classes"]
    config.model.update(values)


def small_settings(dataset: Path) -> ConfigDict:
    """Two epochs of two steps on the small dataset, with the paper's freeze rules."""
    config = default.get_config()
    set_model(config, SMALL)
    config.data.dir = str(dataset)
    config.train.update({"batch_size": 8, "epochs": 2, "learning_rate": 1e-3})
    config.eval.batch_size = 4
    config.log_every_steps = 1
    return config


@pytest.fixture
def small_config(small_dataset: Path) -> ConfigDict:
    return small_settings(small_dataset)


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory):
    """A few clips to link under other names."""
    from stand_ins import Seeds  # renders, which few tests need

    return Seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="session")
def tree(seeds, tmp_path_factory: pytest.TempPathFactory):
    """Makes the stand-in of a dataset, once."""
    from stand_ins import TREES

    made = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            TREES[name](made[name], seeds)
        return made[name]

    return make


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory):
    """The clips and the model of `readout`."""
    from tests import readout  # few tests need it

    folder = tmp_path_factory.mktemp("pairs")
    splits = {split: readout.make_records(split, n) for split, n in (("train", 270), ("test", 90))}
    return readout.write_clips(folder, splits), readout.fit(folder)
