"""A run whose directory is in a bucket (of an emulator on this machine)."""

import json
import sys

import numpy as np
import pytest

from mmadfer_jax import evaluate, files
from mmadfer_jax.errors import UserError
from mmadfer_jax.train import train
from mmadfer_jax.trained import load_model
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.settings import open_workdir
from tests.bucket import bucket
from tests.conftest import SMALL, set_model
from tests.sizes import changed


def test_a_run_in_a_bucket_is_that_of_a_disk(small_config, small_dataset, tmp_path, monkeypatch):
    set_model(small_config, changed(SMALL, depth=1, stages=1, temporal_depth=1))
    small_config.train.update({"batch_size": 4, "epochs": 1})
    small_config.checkpoint.every_steps = 4
    expected = train(small_config, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").rglob("*")}
    with bucket("runs-of-tests") as url:
        run = f"{url}/run"
        results = train(small_config, run)
        assert results["confusion_matrix"] == expected["confusion_matrix"]
        model, local = load_model(run), load_model(tmp_path / "run")
        assert model.step == local.step == 5
        for path, value in local.params.items():
            np.testing.assert_array_equal(model.params[path], value, err_msg=path)
        for name in ("metrics.jsonl", "report/predictions.csv", "parameters.txt"):
            there = files.read_text(files.as_path(f"{run}/{name}"))
            assert there == (tmp_path / "run" / name).read_text()
        there = {path.name for path in files.as_path(run).rglob("*") if files.is_file(path)}
        assert {"card.json", "results.json", "confusion_matrix.png", "curves.png"} <= there
        assert any("tfevents" in name for name in there)
        assert {name for name in names if name.endswith(".safetensors")} <= there

        out = f"{url}/evaluated"
        flags = ["evaluate", run, f"--data={small_dataset}", f"--out={out}"]
        monkeypatch.setattr(sys, "argv", flags)
        evaluate.main()
        found = json.loads(files.read_text(files.as_path(f"{out}/results.json")))
        assert found["uar"] == expected["uar"]

        # The newest checkpoint is damaged: the one before it counts, and it is set aside.
        damaged = files.as_path(f"{run}/checkpoints/5/run/metadata")
        text = files.read_text(damaged)
        files.write(damaged, text.replace('"sha256": "', '"sha256": "0', 1))
        assert load_model(run).step == 4
        with Checkpoints(run, writing=True) as checkpoints:
            saved, _ = checkpoints.newest(lambda saved: None)
            assert saved.step == 4
        assert files.names(files.as_path(f"{run}/damaged"))[0].startswith("5-")
        assert files.names(files.as_path(f"{run}/checkpoints")) == ["4"]


@pytest.mark.parametrize("workdir", ["memory://run", "https://host/run", "gs:/bucket/run"])
def test_other_urls_are_refused(workdir):
    with pytest.raises(UserError, match=r"can lie on a disk, or behind gs://|expected gs://BUCK"):
        open_workdir(workdir)
