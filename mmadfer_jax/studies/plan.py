"""What a study is: arms x folds x seeds, and the settings of each of its runs."""

import dataclasses
import difflib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.splits import fold_parts
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig, flat
from mmadfer_jax.training.settings import check_settings, plain

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]*")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One variant of the model: a name and settings, nothing else.

    Attributes:
        name: In tables; with "_" for spaces also in the names of its runs' folders.
        overrides: Setting, such as "model.prompts", -> value, over the study's config.
        says: One sentence: what is taken away or changed.
    """

    name: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    says: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """Arms that are trained alike, in all else, and compared.

    Attributes:
        says: One sentence: what it asks.
        config: The file with the settings that all arms share.
        arms: In the order of the table; the others are compared with the first one.
        folds: Of the dataset; None for all. Sets with fixed splits have none.
        seeds: Each arm is trained once with each on each fold.
        groups: Name -> classes of which the tables give the mean recall too, where the data have
            them all.
    """

    says: str
    config: str
    arms: tuple[Arm, ...]
    folds: tuple[int, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


class Run(NamedTuple):
    """One training of a study.

    Attributes:
        name: Of its folder.
        arm: Name of its arm.
        fold: On which it is tested; None where the splits are fixed.
        seed: Of everything that is drawn.
        config: All of its settings.
    """

    name: str
    arm: str
    fold: int | None
    seed: int
    config: ConfigDict


class Plan(NamedTuple):
    """The runs of a study in the order in which they are taken, and the data's classes."""

    runs: tuple[Run, ...]
    classes: tuple[str, ...]
    dataset: str


def load_study(path: Path) -> Study:
    """The study that a Python file's `get_study()` returns.

    Raises:
        UserError: There is no such file, or it has no such function.
    """
    if not path.is_file():
        raise UserError(f"no study file {path}; configs/studies/ has some")
    spec = importlib.util.spec_from_file_location("study_file", path)
    if spec is None:
        raise UserError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        study = module.get_study()
    except Exception as error:  # whatever stands in the file
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(study, Study):
        raise UserError(f"{path}: get_study() returns {type(study).__name__}, not a Study")
    return study


def plan_study(study: Study, base: ConfigDict) -> Plan:
    """All runs of a study. Those of one fold and seed stand together, so arms are compared early.

    Args:
        study: It.
        base: Its config, with the overrides of the command line.

    Raises:
        UserError: An override names no setting or has a wrong value, two arms are equal, or the
            dataset is not there or has no such fold.
    """
    _check_study(study)
    configs = {arm.name: overridden(base, arm) for arm in study.arms}
    _check_different(configs)
    info = _dataset(base)
    for config in configs.values():
        if (other := _dataset(config)).classes != info.classes:
            raise UserError(
                f"{config.data.dir} has the classes {', '.join(other.classes)}, {base.data.dir} "
                f"{', '.join(info.classes)}; arms of a study need the same"
            )
    _check_models(configs)
    runs = [
        Run(_run_name(arm.name, fold, seed), arm.name, fold, seed, _placed(config, fold, seed))
        for seed in study.seeds
        for fold in folds_of(info, study.folds)
        for arm, config in zip(study.arms, configs.values(), strict=True)
    ]
    return Plan(tuple(runs), info.classes, info.name)


def plan_folds(config: ConfigDict) -> Plan:
    """The runs of all folds of a dataset, in folders `fold1` and so on.

    Raises:
        UserError: The dataset is not there, or has fixed splits.
    """
    check_settings(config)
    info = _dataset(config)
    folds = folds_of(info, None)
    if folds == (None,):
        raise UserError(
            f"{config.data.dir} has fixed splits train and test and no folds; train it with "
            "main.py, or with several seeds by mmadfer_jax.study"
        )
    runs = [
        Run(f"fold{fold}", "", fold, config.seed, _placed(config, fold, config.seed))
        for fold in folds
    ]
    return Plan(tuple(runs), info.classes, info.name)


def folds_of(info: DatasetInfo, wanted: Sequence[int] | None) -> tuple[int | None, ...]:
    """The folds of a dataset, or those of them that are wanted; (None,) where splits are fixed.

    Raises:
        UserError: It has no such fold.
    """
    parts = fold_parts(info.name, info.splits)
    if not parts:
        return (None,)
    known = tuple(range(1, len(parts) + 1))
    if unknown := [fold for fold in wanted or () if fold not in known]:
        raise UserError(f"no fold {unknown[0]} in dataset {info.name}; it has 1 to {len(parts)}")
    return known if wanted is None else tuple(dict.fromkeys(wanted))


def overridden(base: ConfigDict, arm: Arm) -> ConfigDict:
    """A copy of the config with an arm's settings.

    Raises:
        UserError: One names no setting, or has a value of another type.
    """
    config = base.copy_and_resolve_references()
    for name, value in arm.overrides.items():
        where = f"arm {arm.name!r} sets {name}"
        if name in ("seed", "data.fold"):
            raise UserError(f"{where}; that is what the study's seeds and folds are for")
        *groups, last = name.split(".")
        place = config
        for group in groups:
            place = place.get(group) if isinstance(place, ConfigDict) else None
        if not isinstance(place, ConfigDict) or last not in place:
            near = difflib.get_close_matches(name, flat(plain(base)), 1)
            said = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"{where}, but there is no such setting{said}")
        if isinstance(place[last], ConfigDict):
            inside = ", ".join(f"{name}.{key}" for key in place[last])
            raise UserError(f"{where}, which holds settings of its own; name one of {inside}")
        try:
            place[last] = value
        except (TypeError, ValueError) as error:
            raise UserError(f"{where} to {value!r}: {error}") from error
    try:
        check_settings(config)
    except UserError as error:
        raise UserError(f"arm {arm.name!r}: {error}") from error
    return config


def _check_study(study: Study) -> None:
    if not study.arms or not study.seeds or study.folds == ():
        raise UserError("the study has no arms, no seeds or no folds; it needs one of each")
    folders: dict[str, str] = {}
    for arm in study.arms:
        if not _NAME.fullmatch(arm.name):
            raise UserError(
                f"an arm is called {arm.name!r}; expected letters, digits, spaces and _ . + -, "
                "because its runs' folders are called after it"
            )
        folder = _folder(arm.name).lower()  # some file systems tell no case
        if folder in folders:
            raise UserError(
                f"the study has two arms {folders[folder]!r} and {arm.name!r}; rename one"
            )
        folders[folder] = arm.name


def _check_different(configs: Mapping[str, ConfigDict]) -> None:
    settings = {name: plain(config) for name, config in configs.items()}
    names = list(settings)
    for place, name in enumerate(names):
        for other in names[:place]:
            if settings[name] == settings[other]:
                raise UserError(
                    f"the arms {other!r} and {name!r} have the same settings, so they would be "
                    "trained twice for one result; change or delete one"
                )


def _check_models(configs: Mapping[str, ConfigDict]) -> None:
    """Refuses sizes that no model has, before the first run.

    What is open in a config comes from the encoders' files. Where the first arm cannot be checked
    without them, none is.
    """
    for number, (name, config) in enumerate(configs.items()):
        try:
            ModelConfig.from_dict(plain(config)["model"])
        except UserError as error:
            if number == 0:
                return
            raise UserError(f"arm {name!r}: {error}") from error


def _dataset(config: ConfigDict) -> DatasetInfo:
    return DatasetInfo.load(config.data.dir)


def _placed(config: ConfigDict, fold: int | None, seed: int) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.seed = seed
    if fold is not None:
        config.data.fold = fold
    return config


def _folder(arm: str) -> str:
    return arm.replace(" ", "_")


def _run_name(arm: str, fold: int | None, seed: int) -> str:
    return f"{_folder(arm)}-{'' if fold is None else f'fold{fold}-'}seed{seed}"
