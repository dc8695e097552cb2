"""What a model relies on, shown with models of which it is known."""

import dataclasses

import numpy as np
import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation import alterations
from mmadfer_jax.evaluation.conflict import conflict_section, mixed_section
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.evaluation.probes import KINDS, parse_probes, plan_probes, probe
from mmadfer_jax.trained import TrainedModel


@pytest.fixture(scope="module")
def examination(pairs):
    source, model = pairs
    return Examination(model, source, batch_size=64)


def with_params(examination, **changes) -> Examination:
    """The same clips, shown to the same model with some tensors changed by a function."""
    model = examination.model
    params = dict(model.params)
    for name, change in changes.items():
        params[name] = change(params[name])
    changed = TrainedModel(model.card, params)
    # The compiled step and the clips are taken over, so that this costs no second compilation.
    other = object.__new__(Examination)
    other.__dict__.update(examination.__dict__, model=changed)
    other._params = examination._program.place_frozen(params)
    return other


def zero(tensor):
    return np.zeros_like(tensor)


def without(examination, side: str) -> Examination:
    """A model that is blind or deaf: the feature of one encoder is zero, and gates are closed."""
    norm = {f"{side}_encoder.norm.{name}": zero for name in ("scale", "bias")}
    gates = {f"fusion.{i}.{s}_gate": zero for i in range(2) for s in ("image", "audio")}
    return with_params(examination, **norm, **gates)


def sections(examination, *texts):
    usual = examination.answers()
    found = probe(examination, plan_probes(parse_probes(texts), examination), usual)
    return {section.name: section for section in found}


def recalls(section) -> dict[str, np.ndarray]:
    return {row["probe"]: np.array(row["recalls"]) for row in section.results}


def test_each_probe_costs_the_classes_that_need_what_it_takes(examination):
    found = recalls(sections(examination, "modalities", "order")["probes"])
    blue_red, low_high, dawn_dusk = slice(0, 2), slice(2, 4), slice(4, 6)
    assert found["as they are"].min() > 0.9
    # What is told by sound alone is guessed without it, the rest stays; and so on.
    for name, lost in (
        ("no sound", [low_high]),
        ("no picture", [blue_red, dawn_dusk]),
        ("frames shuffled", [dawn_dusk]),
    ):
        kept = np.ones(6, bool)
        for pair in lost:
            kept[pair] = False
            assert found[name][pair].mean() < 0.7, name
        assert found[name][kept].min() > 0.9, name
    assert found["frames backwards"][dawn_dusk].max() < 0.1  # the one is taken for the other
    assert found["frames backwards"][:4].min() > 0.9


def test_strengths_spoil_more_and_more(examination):
    found = sections(examination, "sound_noise=40,0,-20", "picture_noise=40,-20", "frames=4,1")
    (section,) = found.values()
    uar = {(row["kind"], row["strength"]): row["uar"] for row in section.results}
    assert uar["sound_noise", 40] > uar["sound_noise", 0] > uar["sound_noise", -20]
    assert uar["picture_noise", 40] > uar["picture_noise", -20]
    assert uar["frames", 4] == uar[None, None] > uar["frames", 1]  # four are all there are
    assert section.figures.keys() == {"probes.png", "probes_by_class.png"}
    header, *lines = section.files["probes.csv"].splitlines()
    assert header.startswith("clip,true,as they are,sound at 40 dB SNR")
    assert len(lines) == 90


@pytest.mark.parametrize("side", ["image", "audio"])
def test_a_blind_model_does_not_mind_pictures_and_a_deaf_one_no_sound(examination, side):
    other = without(examination, side)
    usual = other.answers().logits
    spoilt = {
        "image": [alterations.no_picture, alterations.backwards, alterations.shuffled],
        "audio": [alterations.OtherSound.of(other.source, other.model.card.reading)],
    }
    for alter in spoilt[side]:
        np.testing.assert_array_equal(other.answers(alter).logits, usual)
    for alter in spoilt["audio" if side == "image" else "image"]:
        assert np.abs(other.answers(alter).logits - usual).max() > 0.1


def test_a_model_without_positions_does_not_mind_the_order(examination):
    other = with_params(examination, **{"temporal.pos_embedding": zero})
    usual = other.answers().logits
    for alter in (alterations.backwards, alterations.shuffled):
        np.testing.assert_allclose(other.answers(alter).logits, usual, rtol=1e-3, atol=1e-2)
    assert np.abs(other.answers(alterations.no_picture).logits - usual).max() > 0.1


def answers(labels, said, classes: int) -> Answers:
    labels = np.array(labels, np.int32)
    return Answers([f"clip {i}" for i in range(len(labels))], labels, np.eye(classes)[said])


def test_the_conflict_table_counts_who_is_right():
    labels = [0, 0, 1, 1, 2, 2, 0]
    sound = [0, 1, 1, 0, 0, 0, 2]
    picture = [0, 1, 0, 1, 1, 2, 1]
    both = [0, 1, 1, 0, 2, 2, 2]
    given = (answers(labels, said, 3) for said in (both, sound, picture))
    section = conflict_section(*given, ["a", "b", "c"])
    found = {row["case"]: list(row.values())[1:] for row in section.results["cases"]}
    assert found == {  # clips, as sound, as picture, otherwise, right
        "agree, right": [1, 1, 1, 0, 1],
        "agree, wrong": [1, 1, 1, 0, 0],
        "disagree, sound right": [1, 1, 0, 0, 1],
        "disagree, picture right": [2, 1, 1, 0, 1],
        "disagree, both wrong": [2, 1, 0, 1, 1],
    }
    assert section.results["right_by_class"]["c"] == {
        **{"clips": 2, "sound": 0, "picture": 1},
        "both": 2,
    }
    assert "| disagree, picture right |     2 |" in section.text


def test_a_deaf_model_follows_the_picture_of_a_mixed_clip(examination):
    sounds = np.array([0, 1, 2, 2])
    found = mixed_section(answers([0, 2, 0, 1], [0, 1, 0, 0], 3), sounds).results
    assert found == {"clips": 3, "picture": 1 / 3, "sound": 1 / 3, "neither": 1 / 3}
    deaf = sections(without(examination, "audio"), "modalities")["mixed"].results
    own = without(examination, "audio").answers()
    hits = (own.logits.argmax(axis=1) == own.labels).mean()
    assert deaf["picture"] == pytest.approx(hits, abs=0.05)


def test_one_clip_cannot_be_mixed(examination):
    alone = with_params(examination)
    alone.source = examination.source.only([0])
    alone.__dict__.pop("labels", None)
    assert "mixed" not in sections(alone, "modalities")


def test_probes_are_read_and_checked(examination):
    assert parse_probes(["blur=1,2", "all"])["blur"] == (1.0, 2.0)
    assert set(parse_probes(["all"])) == {"modalities", "order", *KINDS}
    for text, message in (
        ("blur=wide", "expected numbers after the ="),
        ("colour", "--probe=colour; expected all, modalities, order, or one of sound_noise"),
        ("order=2", "--probe=order=2; expected"),
    ):
        with pytest.raises(UserError, match=message):
            parse_probes([text])
    for text, message in (
        ("frames=5", "--probe=frames=5; expected a whole number, at most the model's frames"),
        ("frames=1.5", "whole number"),
        ("blur=0", "pixels, more than 0"),
        ("size=0", "whole number of pixels"),
        ("sound_noise=1000", "-100 to 100"),
    ):
        with pytest.raises(UserError, match=message):
            plan_probes(parse_probes([text]), examination)


def test_usual_strengths_follow_the_models_sizes(examination):
    planned = plan_probes(parse_probes(["size", "frames"]), examination)
    assert [p.strength for p in planned] == [16, 8, 4, 2, 1]
    card = examination.model.card
    paper = dataclasses.replace(
        card.model, image=dataclasses.replace(card.model.image, shape=(224, 224)), num_frames=16
    )
    model = TrainedModel(dataclasses.replace(card, model=paper), {})
    one = object.__new__(Examination)
    one.model = model
    planned = plan_probes(parse_probes(["size", "frames", "blur"]), one)
    assert [p.strength for p in planned] == [2, 4, 8, 112, 56, 28, 8, 4, 2, 1]
