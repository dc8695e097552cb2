import jax
import numpy as np
import pytest
from watched import make_model

from mmadfer_jax.errors import UserError, out_of_memory_says
from mmadfer_jax.evaluate import evaluate_run
from mmadfer_jax.train import train
from mmadfer_jax.training.program import Program

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 GiB.\n[a table]"


def refuse(*_):
    raise jax.errors.JaxRuntimeError(OUT_OF_MEMORY)


def test_training_without_memory_names_the_setting_to_lower(small_config, tmp_path, monkeypatch):
    for step in ("train_step", "eval_step"):
        with monkeypatch.context() as patch:
            patch.setattr(Program, step, property(lambda self: refuse))
            with pytest.raises(UserError) as error:
                train(small_config, tmp_path / step)
        assert str(error.value) == (
            "out of memory: lower config.train.batch_size and config.eval.batch_size, or use more "
            f"devices ({OUT_OF_MEMORY.splitlines()[0]})"
        )
    train(small_config, tmp_path / "train_step")  # and the command can be given again
    monkeypatch.setattr(Program, "inspection_step", property(lambda self: refuse))
    with pytest.raises(UserError, match=r"memory: lower the batch size \(--batch_size, config\.ev"):
        evaluate_run(small_config, tmp_path / "train_step")


def test_a_prediction_without_memory_says_to_ask_about_fewer(monkeypatch):
    model = make_model()
    monkeypatch.setattr("mmadfer_jax.trained._program", lambda config: refuse)
    frames, sound = (np.zeros((2, *x), np.float32) for x in ((4, 32, 32, 3), (64, 128)))
    with pytest.raises(UserError, match=r"memory: ask about fewer than 2 clips at once \(--batch"):
        model.logits(frames, sound)
    with pytest.raises(UserError, match=r"out of memory: use a CPU \("):
        model.logits(frames[:1], sound[:1])


def test_a_machine_without_memory_is_told_the_same_and_other_errors_stay_what_they_are():
    with pytest.raises(UserError, match="out of memory: use less"), out_of_memory_says("use less"):
        raise MemoryError
    for other in (jax.errors.JaxRuntimeError("INTERNAL: x"), ValueError("RESOURCE_EXHAUSTED: x")):
        with pytest.raises(type(other)), out_of_memory_says("use less"):
            raise other
