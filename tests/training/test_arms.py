"""Runs whose model lacks parts: trained, saved, evaluated, taken out, loaded."""

import csv

import jax
import numpy as np
import pytest

from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.metrics import softmax
from mmadfer_jax.export import export
from mmadfer_jax.train import train
from mmadfer_jax.trained import load_model
from mmadfer_jax.training.input import eval_batches
from mmadfer_jax.training.settings import plain
from tests.conftest import SMALL, small_settings
from tests.programs import program_of
from tests.sizes import changed

# Between them they leave out every part, and neither needs the other's programs.
ARMS = {
    "little of each part": {
        "model.prompted": "image",
        "model.stages": 0,
        "model.fusion": "to_audio",
        "model.fusion_layers": (1,),
        "model.fusion_pooling": "attention",
        "model.temporal_depth": 0,
        "model.drop_path": 0.0,
        "data.frame_order": "shuffled",
        "data.missing_sound": "mean",
        "augment.area": None,
        "augment.drop_sound": 0.25,
        "augment.drop_picture": 0.25,
        "freeze": (
            (r"(image|audio)_encoder\.(patch_embed|blocks\.0|norm|pos_embed).*", "frozen"),
            (r".*", "trained"),
        ),
    },
    "sound alone": {
        "model.modalities": "audio",
        "model.prompts": 0,
        "model.image.shape": (16, 16),
        "image_weights": "is not there and not needed.pth",
    },
}


@pytest.fixture(scope="module", params=ARMS)
def run(request, small_dataset, tmp_path_factory):
    """A finished run, its config and its results."""
    config, workdir = small_settings(small_dataset), tmp_path_factory.mktemp("arm")
    config.update_from_flattened_dict(ARMS[request.param])
    config.train.epochs = 1
    return workdir, config, train(config, workdir)


def test_an_arm_is_what_its_settings_say_and_answers_as_it_was_tested(run, small_dataset, tmp_path):
    workdir, config, results = run
    assert results["clips"] == 7
    model = load_model(workdir)
    wanted = {name: plain(config)["model"][name] for name in ("fusion", "modalities", "prompts")}
    assert {name: model.card.to_dict()["model"][name] for name in wanted} == wanted
    assert model.card.training["config"]["augment"] == plain(config)["augment"]
    with pytest.raises(UserError, match=r"cannot compute this model: .*--layout=own"):
        export(workdir, tmp_path / "x.pth")
    export(workdir, tmp_path / "x.safetensors", layout="own")
    source = RecordSource(small_dataset, ["test"])
    batch = next(eval_batches(source, model.card.reading, batch_size=7))
    with (workdir / "report" / "predictions.csv").open(newline="") as file:
        rows = [
            [float(row[f"p({name})"]) for name in model.classes] for row in csv.DictReader(file)
        ]
    for found in (model, load_model(tmp_path / "x.safetensors")):
        logits = found.logits(batch["frames"], batch["spectrogram"])
        np.testing.assert_allclose(softmax(logits), rows, atol=1e-5)


def test_an_arm_does_not_go_on_as_another(run):
    workdir, config, _ = run
    config.model.prompts = 1
    with pytest.raises(
        UserError, match=r"holds a run with other settings. model.prompts: \d there"
    ):
        train(config, workdir)


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({"prompts": 0}, "scan"),
        ({"stages": 0, "fusion": "none"}, "scan"),
        ({"prompted": "audio", "fusion": "to_image", "num_frames": 8}, "loop"),
        ({"fusion_pooling": "attention", "temporal_depth": 3}, "scan"),
        ({"modalities": "image", "dtype": "bfloat16"}, "loop"),
        ({"modalities": "audio", "temporal_depth": 0}, "scan"),
        ({"audio_width": 48, "fusion": "none", "temporal_depth": 0}, "loop"),
    ],
    ids=str,
)
def test_steps_of_every_arm_are_traced(changes, layers):
    """With the paper's rules of freezing and of sharding."""
    compute = {"layers": layers, "remat": "attention"}
    program = program_of(
        changed(SMALL, **changes), change=lambda settings: settings.update(compute=compute)
    )
    *_, metrics = jax.eval_shape(
        program._train_step,
        program.abstract_state(),
        program.abstract_frozen(),
        program.abstract_batch(2),
        jax.eval_shape(lambda: jax.random.key(0)),
    )
    assert metrics["loss"].shape == ()
    found = jax.eval_shape(
        program._eval_step,
        program.abstract_trainable(),
        program.abstract_frozen(),
        program.abstract_batch(2, 40),
    )
    assert found.shape == (2, 3)
