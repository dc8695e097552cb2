"""What a config costs: counts against formulas and XLA, measurements of a tiny model."""

import json
import sys

import flops as formula
import jax
import pytest
from train_step import recipe

from mmadfer_jax import cost
from mmadfer_jax.costing import measure
from mmadfer_jax.costing.count import baselines, baselines_section, parts_section, published_section
from mmadfer_jax.costing.flops import PARTS, flops_by_part, part_of
from mmadfer_jax.costing.timing import program_of, random_params
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.optimizer import TRAINED, count, split
from tests import programs
from tests.sizes import AST, changed

SIZES = {
    "the paper's": changed(ModelConfig(), depth=2),
    "AST": changed(ModelConfig(), depth=2, **AST),
    "two temporal layers": changed(ModelConfig(), depth=2, temporal_depth=2, prompts=4, stages=1),
    "sound alone": changed(ModelConfig(), depth=2, modalities="audio", prompts=0, stages=1),
}


def by_formula(model: ModelConfig, *, training: bool) -> dict[str, int]:
    """The parts of `benchmarks/flops.py`, which are written down from the sizes."""
    found = dict.fromkeys(("image_encoder", "audio_encoder", "fusion", "head"), 0)
    for name, of in formula.parts(model).items():
        first = name.split(" ")[0]
        part = f"{first}_encoder" if first in ("image", "audio") else first
        found[part] += of.training if training else of.forward
    return found


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_each_part_has_the_flops_of_its_sizes(name, training):
    model = SIZES[name]
    found = flops_by_part(programs.program_of(model), training=training)
    found["head"] += found.pop("temporal")
    pixels = found.pop("")
    assert found == by_formula(model, training=training)
    assert pixels == (formula.pixels(model, model.image_size).forward if training else 0)


def test_how_it_is_computed_does_not_change_the_count():
    model = changed(ModelConfig(), depth=2)

    def scan(settings):
        settings["compute"] |= {"remat": "layers", "layers": "scan"}

    plain, repeated = programs.program_of(model), programs.program_of(model, change=scan)
    for training in (False, True):
        assert flops_by_part(plain, training=training) == flops_by_part(repeated, training=training)


def test_weights_that_train_cost_a_gradient_more():
    """Frozen: forward and the gradient of inputs; trained: that of the weights besides."""
    model = changed(ModelConfig(), depth=2)

    def everything(settings):
        settings["freeze"] = [[".*", TRAINED]]

    frozen, trained = (
        flops_by_part(programs.program_of(model, change=change), training=True)
        for change in (lambda settings: None, everything)
    )
    forward = flops_by_part(programs.program_of(model), training=False)
    parts = formula.parts(model)
    for side in ("image", "audio"):
        # Attention has no weights, and patches get their gradient for the first time.
        weights = forward[f"{side}_encoder"] - parts[f"{side} attention"].forward
        assert trained[f"{side}_encoder"] - frozen[f"{side}_encoder"] == weights
    assert trained["fusion"] == frozen["fusion"]


def test_parameters_are_those_of_the_program():
    program = program_of(recipe(toy=True))
    assert {part_of(path) for path in program.shapes} == set(PARTS) - {""}
    section = parts_section(program)
    trained, frozen = split(program.shapes, program.labels)
    together = section.results["together"]
    assert (together["trained"], together["frozen"]) == (count(trained), count(frozen))
    assert together["forward"] == sum(flops_by_part(program, training=False).values())
    parts = section.results["parts"]
    assert parts["fusion"]["frozen"] == 0
    assert parts["picture encoder"]["frozen"] > parts["picture encoder"]["trained"]
    assert "| **together**" in section.text


def test_baselines_leave_out_what_they_say():
    config = recipe(toy=True)
    rows = baselines_section(config).results
    own, picture, sound, apart, whole = rows.values()
    program = program_of(config)
    fusion = flops_by_part(program, training=False)["fusion"]
    assert own["forward"] - apart["forward"] == fusion
    assert picture["forward"] + sound["forward"] < apart["forward"]
    assert whole["frozen"] == 0
    assert whole["trained"] == own["trained"] + own["frozen"]
    assert whole["training"] > own["training"]
    assert whole["forward"] == own["forward"]
    assert list(baselines(recipe(toy=True, modalities="image"))) == [
        *("this config", "every weight trained")
    ]
    assert config == recipe(toy=True)  # nothing was changed in it


def test_others_stand_once_each_with_both_datasets():
    rows = published_section().results
    (mae,) = [row for row in rows if row["method"] == "MAE-DFER 2023"]
    assert (mae["dfew"], mae["mafw"]) == ([63.41, 74.43], [41.62, 54.31])
    both = [row for row in rows if row["method"] == "MMA-DFER 2024"]  # two sets circulate
    assert [row["dfew"] for row in both] == [[67.01, 77.51], [66.85, 77.43]]
    assert [row["mafw"] for row in both] == [[44.11, 58.52], [44.25, 58.45]]
    assert all(row["source"] for row in rows)


@pytest.fixture(scope="module")
def tiny():
    config = recipe(toy=True, dtype="float32")
    config.mesh.data = jax.device_count()
    program = program_of(config)
    return program, random_params(program)


@pytest.mark.parametrize("kind", [measure.PREDICTION, measure.TRAINING])
def test_a_step_is_timed_and_its_bytes_are_told(tiny, kind):
    program, params = tiny
    row = measure.measure_step(program, kind, 4, params, 2_000_000)
    seconds = row["median_ms"] / 1000
    assert row["clips_per_second"] == pytest.approx(4 / seconds, rel=0.01)
    assert row["bytes"]["arguments"] > 10_000
    assert row["bytes"]["temporaries"] > 10_000


def test_a_step_that_does_not_fit_is_not_run(tiny, monkeypatch):
    program, params = tiny
    monkeypatch.setattr(measure, "free_bytes", lambda: 1000)
    row = measure.measure_step(program, measure.PREDICTION, 4, params, 1)
    assert row["median_ms"] is None
    text = measure.measured_section([row]).text
    assert "prediction at batch 4 needs 0.0 GB of 0.0 GB that are free" in text


def test_a_first_answer_comes_from_a_process_of_its_own(tiny, tmp_path):
    program, params = tiny
    row = measure.first_answer(program.model, params, None)
    assert 0.5 < row["seconds"] < 600
    assert f"first answer {row['seconds']:.1f} s after its start" in (
        measure.measured_section([row]).text
    )
    with pytest.raises(UserError, match=r"`predict` of .*no\.mp4 failed: error: no such file"):
        measure.first_answer(program.model, params, tmp_path / "no.mp4")


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections'
def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    def run(*arguments) -> object:
        monkeypatch.setattr(sys, "argv", ["cost", "--config=configs/demo.py", *arguments])
        try:
            cost.main()
        except SystemExit as end:
            return end.code
        return 0

    assert run("--measure=none", "--config.model.bottleneck=16", f"--out={tmp_path / 'out'}") == 0
    printed = capsys.readouterr().out
    page = (tmp_path / "out" / "cost.md").read_text()
    assert "--measure=none --config.model.bottleneck=16" in page
    found = json.loads((tmp_path / "out" / "cost.json").read_text())
    assert found["parts"]["together"]["trained"] < 373_451  # with a bottleneck of 32
    for part in page.split("## ")[1:]:
        assert part.strip() in printed
    for wrong, said in (
        ("--measure=speed", "'speed' is none of prediction, training, start, none"),
        ("--batch=0", "--batch=0; expected 1 or more"),
        ("--clip=nowhere.mp4", "no such file: nowhere.mp4"),
        ("--config.model.colour=1", "has no setting"),
        ("--speed=1", "Unknown command line flag 'speed'"),
    ):
        assert said in str(run(wrong))
