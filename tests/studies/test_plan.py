import re

import pytest

from configs import demo, dfew
from mmadfer_jax.errors import UserError
from mmadfer_jax.studies.plan import Arm, Study, load_study, overridden, plan_folds, plan_study
from tests.studying import CLASSES, tiny_settings, write_folds_dataset

DEEPER = Arm("deeper", {"model.temporal_depth": 2})


@pytest.fixture(scope="module")
def folds3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds3")
    write_folds_dataset(folder, 3)
    return folder


@pytest.fixture
def base(folds3):
    return tiny_settings(folds3)


def study(*arms, **settings):
    return Study("A question", "config.py", arms, **settings)


def test_arms_of_a_fold_and_seed_stand_together(base):
    plan = plan_study(study(Arm("full"), DEEPER, folds=(1, 3), seeds=(0, 7)), base)
    assert [run.name for run in plan.runs] == [
        *("full-fold1-seed0", "deeper-fold1-seed0", "full-fold3-seed0", "deeper-fold3-seed0"),
        *("full-fold1-seed7", "deeper-fold1-seed7", "full-fold3-seed7", "deeper-fold3-seed7"),
    ]
    last = plan.runs[-1]
    assert (last.config.seed, last.config.data.fold, last.config.model.temporal_depth) == (7, 3, 2)
    assert (base.seed, base.data.fold, base.model.temporal_depth) == (0, 1, 1)
    assert plan.classes == CLASSES


def test_all_folds_where_none_are_named(base):
    assert [run.fold for run in plan_study(study(Arm("full")), base).runs] == [1, 2, 3]
    assert [run.name for run in plan_folds(base).runs] == ["fold1", "fold2", "fold3"]
    assert [run.config.data.fold for run in plan_folds(base).runs] == [1, 2, 3]


def test_a_set_with_fixed_splits_has_one_run_a_seed(small_config):
    plan = plan_study(study(Arm("full"), seeds=(0, 1)), small_config)
    assert [(run.name, run.fold) for run in plan.runs] == [
        ("full-seed0", None),
        ("full-seed1", None),
    ]
    with pytest.raises(UserError, match="fixed splits"):
        plan_folds(small_config)


@pytest.mark.parametrize(
    ("arms", "settings", "message"),
    [
        ((), {}, "no arms"),
        ((Arm("full"),), {"seeds": ()}, "no seeds"),
        ((Arm("full"), Arm("full", DEEPER.overrides)), {}, "two arms 'full' and 'full'"),
        ((Arm("no x"), Arm("no_x", DEEPER.overrides)), {}, "two arms 'no x' and 'no_x'"),
        ((Arm("full"), Arm("same", {"seed": 3})), {}, "sets seed; that is what the study's seeds"),
        ((Arm("full"), Arm("same", {"model.prompts": 2})), {}, "'full' and 'same' have the same"),
        ((Arm("full"), DEEPER, Arm("again", DEEPER.overrides)), {}, "'deeper' and 'again' have"),
        ((Arm("../out"),), {}, "expected letters"),
        ((Arm("x", {"model.promts": 0}),), {}, "no such setting; did you mean model.prompts?"),
        ((Arm("x", {"nothing": 0}),), {}, "sets nothing, but there is no such setting"),
        ((Arm("x", {"model.prompts.deep": 0}),), {}, "no such setting"),
        ((Arm("x", {"model": 0}),), {}, "name one of model.audio"),
        ((Arm("x", {"model.drop_path": "much"}),), {}, "model.drop_path to 'much'"),
        ((Arm("x", {"data.frame_order": "odd"}),), {}, "arm 'x': config.data.frame_order is 'odd'"),
        ((Arm("full"), Arm("x", {"model.bottleneck": 0})), {}, "arm 'x': .*bottleneck is 0"),
        ((Arm("full"),), {"folds": (4,)}, "no fold 4 in dataset small; it has 1 to 3"),
    ],
)
def test_a_bad_study_is_refused_before_anything_runs(base, arms, settings, message):
    with pytest.raises(UserError, match=message):
        plan_study(study(*arms, **settings), base)


def test_arms_need_the_same_classes(base, tmp_path):
    write_folds_dataset(tmp_path, 3)
    text = (tmp_path / "dataset.json").read_text()
    (tmp_path / "dataset.json").write_text(re.sub("red", "pink", text))
    with pytest.raises(UserError, match="pink, green, blue"):
        plan_study(study(Arm("full"), Arm("pink", {"data.dir": str(tmp_path)})), base)


def test_an_arm_may_set_what_was_open_or_a_tuple():
    config = overridden(dfew.get_config(), Arm("x", {"augment.area": None, "augment.flip": 0}))
    assert (config.augment.area, config.augment.flip) == (None, 0.0)
    opened = overridden(demo.get_config(), Arm("x", {"augment.area": (0.5, 1.0)}))
    assert tuple(opened.augment.area) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no attribute 'get_study'"),
        ("def get_study():\n    return 3", "returns int, not a Study"),
        ("1 +", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
    ],
)
def test_a_file_that_is_no_study_is_one_line(tmp_path, text, message):
    path = tmp_path / "study.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_study(path)
    with pytest.raises(UserError, match="configs/studies/ has some"):
        load_study(tmp_path / "none.py")
