from pathlib import Path

import pytest

import configs.studies
from mmadfer_jax.config_flag import read_config
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import abstract_params
from mmadfer_jax.studies import plan
from mmadfer_jax.studies.plan import load_study, plan_study
from mmadfer_jax.training.optimizer import TRAINED, freeze_labels
from mmadfer_jax.training.settings import plain

FOLDER = Path(configs.studies.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def test_there_are_those_that_are_promised():
    assert {"parts", "prompts", "fusion", "temporal", "modalities", "data", "synthetic"} <= {*NAMES}
    docs = (FOLDER.parent.parent / "docs" / "studies.md").read_text()
    assert [name for name in NAMES if f"`{name}.py`" not in docs] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_ready_made_study_can_be_run(name, monkeypatch):
    """All but the data and the weights, which nobody has here."""
    monkeypatch.chdir(FOLDER.parent.parent)
    study = load_study(FOLDER / f"{name}.py")
    classes = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    if name == "synthetic":
        classes += ("Congruent", "Incongruent")
    info = DatasetInfo(name, classes, {f"part{k}": 9 for k in range(1, 6)}, 224, {})
    monkeypatch.setattr(plan, "_dataset", lambda config: info)
    found = plan_study(study, read_config([], study.config))
    assert len(found.runs) == 5 * len(study.arms) * len(study.seeds)
    assert study.arms[0].overrides == {}
    assert all(arm.says and arm.says.strip(".") == arm.says for arm in study.arms)
    for arm, run in zip(study.arms, found.runs, strict=False):
        model = ModelConfig.from_dict(plain(run.config)["model"])
        if "freeze" in arm.overrides:  # the others have the rules of configs/default.py
            rules = [tuple(rule) for rule in plain(run.config)["freeze"]]
            assert TRAINED in freeze_labels(abstract_params(model), rules).values()
    for members in study.groups.values():
        assert set(members) <= set(classes)
