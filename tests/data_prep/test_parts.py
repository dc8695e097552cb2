"""A copy of a part of a dataset can be looked at, and is not prepared."""

import fnmatch
import json
import os
from pathlib import Path

import pytest
import stand_ins
from stand_ins import list_dataset

from data_prep import run
from data_prep.__main__ import main

# What is left of a copy of each, and what preparing it would lack.
PARTS = {
    "dfew": ("Clip/*/00001*/*", None),
    "mafw": ("data/clips/00001*", None),
    "mafw_compound": ("clips_faces/00001/*", None),
    "crema_d": ("*/1001_*", "5 folds need at least 5 clips, or people to keep apart, found 1"),
    "ravdess": ("Actor_01/*", "splits part1; expected"),
    "ferv39k": ("*/Action/Sad/0010/*", "split 'test' would be empty"),
    "afew": ("train/*/*", "splits train; expected"),
    "mer2023": ("train/*00000000.mp4", None),
    "enterface05": ("subject 1/*", "5 folds need at least 5"),
    "caer": ("train/Anger/*", "splits train; expected"),
    "folder": ("laughs/*", "only one class, 'laughs'"),
}


@pytest.mark.parametrize("name", PARTS)
def test_any_part_of_a_dataset_can_be_checked(name, tree, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "outcomes", stand_ins.outcomes_here)
    source, out = tmp_path / "in", tmp_path / "out"
    pattern, lacks = PARTS[name]
    for path in filter(Path.is_file, tree(name).rglob("*")):
        relative = path.relative_to(tree(name))
        if fnmatch.fnmatch(str(relative), pattern) or path.suffix in (".csv", ".txt"):
            (source / relative).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, source / relative)
    flags = [f"--dataset={name}", f"--source={source}", "--image_size=32", "--faces=none"]
    main([*flags, f"--out={out}", "--workers=1", "--check"])
    report = json.loads((out / "report.json").read_text())
    assert 0 < report["clips"]["usable"] < len(list_dataset(name, tree(name)).clips)
    unfit = [f["detail"] for f in report["findings"] if f["what"].startswith("cannot be prepared")]
    assert any((lacks or "would be empty") in reason for reason in unfit)
    prepared = tmp_path / "prepared"
    with pytest.raises(SystemExit, match=r"^error: [^\n]*$") as stopped:
        main([*flags, f"--out={prepared}"])
    assert all(reason in str(stopped.value) for reason in unfit)
    assert not prepared.exists()
