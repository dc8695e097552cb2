import csv
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from mmadfer_jax.evaluation.published import PUBLISHED, published_on
from mmadfer_jax.studies.folds_report import folds_results, write_folds_report
from mmadfer_jax.studies.outcome import look, write_failure
from mmadfer_jax.studies.plan import Arm, Study, plan_folds, plan_study
from mmadfer_jax.studies.study_report import write_study_report
from mmadfer_jax.studies.summary import study_results
from mmadfer_jax.studies.tables import Table
from tests.studying import finish, tiny_settings, write_folds_dataset

STUDY = Study(
    "What depth & 50 % of _drop_ bring",
    "config.py",
    (
        Arm("full", {}, "as it is"),
        Arm("deeper", {"model.temporal_depth": 2}, "2 layers"),
        Arm("lost", {"model.drop_path": 0.5}),
    ),
    seeds=(0, 1),
    groups={"warm": ("red", "green"), "cold": ("violet", "blue")},
)
# Clips recognised of each class, of 3, 3 and 2: recalls in sixths are easily added up by hand.
FULL = {(1, 0): (3, 3, 2), (1, 1): (3, 0, 2), (2, 0): (3, 3, 1), (2, 1): (0, 3, 2)}
DEEPER = {(1, 0): (3, 3, 1), (1, 1): (0, 0, 2), (2, 0): (3, 3, 1)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_folds_dataset(folder, 2)
    return folder


@pytest.fixture(scope="module")
def study_report(dataset, tmp_path_factory):
    """The folder of a study's report, of which one run has failed and an arm is not begun."""
    folder = tmp_path_factory.mktemp("study")
    plan = plan_study(STUDY, tiny_settings(dataset))
    for run in plan.runs:
        figures = {"full": FULL, "deeper": DEEPER}.get(run.arm, {}).get((run.fold, run.seed))
        if figures:
            finish(run, folder / run.name, figures, speeds=(2.0, 10.0 * (run.fold or 0), 90.0))
    (folder / "deeper-fold2-seed1").mkdir()
    write_failure(folder / "deeper-fold2-seed1", "the loss is not finite")
    outcomes = [look(run, folder / run.name) for run in plan.runs]
    held = {"lost-fold1-seed0": "is trained by process 7 of me on there"}
    results = study_results(STUDY, plan.classes, outcomes, held)
    write_study_report(folder / "report", results, "python -m mmadfer_jax.study ...")
    return folder / "report"


@pytest.fixture(scope="module")
def arms(study_report):
    results = json.loads((study_report / "results.json").read_text())
    return {arm["name"]: arm for arm in results["arms"]}


def test_means_and_spreads_of_an_arm(arms):
    # UAR of the full model's runs: 1, 2/3, 5/6, 2/3; their mean is 19/24.
    values = [1, 2 / 3, 5 / 6, 2 / 3]
    mean = 19 / 24
    std = math.sqrt(sum((x - mean) ** 2 for x in values) / 3)
    assert arms["full"]["uar"] == {"n": 4, "mean": pytest.approx(mean), "std": pytest.approx(std)}
    # WAR: 8, 5, 7 and 5 of 8 clips.
    assert arms["full"]["war"]["mean"] == pytest.approx(25 / 32)
    recalls = {name: one["mean"] for name, one in arms["full"]["per_class_recall"].items()}
    assert recalls == pytest.approx({"red": 3 / 4, "green": 3 / 4, "blue": 7 / 8})
    assert np.sum(arms["full"]["confusion_matrix"]) == 32
    assert np.trace(arms["full"]["confusion_matrix"]) == 25


def test_differences_are_those_of_runs_of_the_same_fold_and_seed(arms):
    found = arms["deeper"]["difference"]["uar"]
    # Of three pairs: 5/6 - 1, 5/6 - 5/6, 1/3 - 2/3.
    assert found["pairs"] == pytest.approx([-1 / 6, 0, -1 / 3])
    assert found["mean"] == pytest.approx(-1 / 6)
    assert (found["n"], found["negative"], found["verdict"]) == (3, 2, "too few pairs")
    assert found["p"] == 0.5  # +-1/6 +-1/3: 4 of 8 patterns are as far from 0
    assert found["low"] <= found["mean"] <= found["high"]
    assert arms["full"]["difference"] == {"uar": None, "war": None}
    assert arms["lost"]["difference"]["uar"] is None


def test_groups_are_the_mean_of_their_classes_and_what_stays_inside(arms):
    groups = arms["full"]["groups"]
    assert set(groups) == {"warm"}  # the data have no violet
    assert groups["warm"]["recall"]["mean"] == pytest.approx(3 / 4)
    # A red clip that is missed is taken for green, a green one for blue: 3 of 6 of one run.
    assert groups["warm"]["kept"]["mean"] == pytest.approx((1 + 3 / 6 + 1 + 1) / 4)


def test_cost_and_speed(arms):
    assert arms["full"]["clips_per_second"] == 15.0  # medians of 10, 10, 20, 20
    assert arms["deeper"]["trained"] > arms["full"]["trained"]
    assert arms["deeper"]["frozen"] == arms["full"]["frozen"]
    assert arms["deeper"]["flops_forward"] > arms["full"]["flops_forward"] > 0
    assert arms["full"]["flops_training"] > 1.5 * arms["full"]["flops_forward"]
    assert arms["lost"]["trained"] is None


def test_gaps_are_marked_with_their_reason(arms, study_report):
    runs = {run["run"]: run for arm in arms.values() for run in arm["runs"]}
    assert len(runs) == 12
    assert runs["deeper-fold2-seed1"]["why"] == "the loss is not finite"
    assert runs["lost-fold1-seed0"]["why"] == "is trained by process 7 of me on there"
    assert runs["lost-fold2-seed0"]["why"] == "not run yet"
    text = (study_report / "report.md").read_text()
    assert "- `deeper-fold2-seed1`: the loss is not finite\n" in text
    assert "| deeper | 3 of 4 |" in text
    assert "| lost | 0 of 4 | is trained by process 7 of me on there |" in text
    assert "no p below 0.25 can come out" in text


def test_csv_has_a_line_an_arm_and_a_line_a_run(study_report, arms):
    with (study_report / "arms.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == ["full", "deeper", "lost"]
    assert float(rows[1]["uar_mean"]) == arms["deeper"]["uar"]["mean"]
    assert float(rows[1]["uar_difference"]) == pytest.approx(-1 / 6)
    assert rows[2]["uar_mean"] == ""
    with (study_report / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert [float(row["recall(blue)"]) for row in rows if row["run"] == "full-fold2-seed0"] == [0.5]


def test_figures_are_pictures(study_report):
    for name in ("differences.png", "differences_war.png", "recalls.png"):
        with Image.open(study_report / name) as picture:
            assert picture.width > 600
            assert len(picture.convert("RGB").getcolors(2**24)) > 3


@pytest.fixture(scope="module")
def folds_report(dataset, tmp_path_factory):
    """Five folds of which the last has failed, under the name of DFEW."""
    folder, data = tmp_path_factory.mktemp("folds"), tmp_path_factory.mktemp("folds_data")
    write_folds_dataset(data, 5)
    plan = plan_folds(tiny_settings(data))
    right = [(3, 3, 2), (3, 0, 2), (3, 3, 1), (0, 3, 2)]
    for run, figures in zip(plan.runs, right, strict=False):
        rows = [{"epoch": 1, "test_uar": 0.9, "test_war": 0.8}, {"epoch": 2, "test_uar": 0.7}]
        finish(run, folder / run.name, figures, history=rows if run.fold < 4 else ())
    (folder / "fold5").mkdir()
    write_failure(folder / "fold5", "no memory")
    outcomes = [look(run, folder / run.name) for run in plan.runs]
    results = folds_results("dfew", plan.classes, outcomes, {})
    assert results["published"] == []  # three classes are no DFEW
    results["published"] = [one._asdict() for one in published_on("dfew", 5, 7)]
    write_folds_report(folder / "report", results, "python -m mmadfer_jax.folds ...")
    return folder / "report"


def test_folds_with_mean_spread_and_pooled_figures(folds_report):
    results = json.loads((folds_report / "results.json").read_text())
    assert [run["uar"] for run in results["folds"]] == pytest.approx([1, 2 / 3, 5 / 6, 2 / 3, None])
    every = results["all"]
    assert every["uar"]["n"] == 4
    assert every["uar"]["mean"] == pytest.approx(19 / 24)
    assert every["pooled"] == {
        **{"uar": pytest.approx((9 / 12 + 9 / 12 + 7 / 8) / 3), "war": 25 / 32, "clips": 32}
    }
    assert every["per_class_recall"]["red"]["std"] == pytest.approx(0.5)  # of 1, 1, 1, 0
    assert every["best_epoch"]["uar"] == {
        "n": 3,
        "mean": pytest.approx(0.9),
        "std": pytest.approx(0),
    }
    assert results["folds"][0]["best_epoch"]["war"] == {"epoch": 1, "war": 0.8}
    text = (folds_report / "report.md").read_text()
    assert "| 1 | 8 | 100.00 | 100.00 | 90.00 (1) | 80.00 (1) |" in text
    assert "| 4 | 8 | 66.67 | 62.50 | – | – |" in text
    assert "| 5 | no memory |" in text
    assert "mean of 4 of 5 folds" in text
    assert "- `fold5`: no memory" in text
    assert "chosen on the test fold" in text


def test_others_stand_beside_and_a_mean_of_fewer_folds_does_not(folds_report):
    text = (folds_report / "report.md").read_text()
    assert "| MMA-DFER 2024 | AV, two frozen ViT-B, 7.6 M trained | 67.01 | 77.51 |" in text
    assert "| MMA-DFER 2024 | AV, two frozen ViT-B, 7.6 M trained | 66.85 | 77.43 |" in text
    assert "| this run |" not in text
    assert "| fold 1: this run |  | 100.00 | 100.00 |" in text
    assert "| fold 5: this run |" not in text
    assert "fold 5: MAE-DFER" not in text


def test_published_figures_are_of_the_same_protocol_and_have_a_source():
    assert published_on("dfew", 5, 7)
    assert published_on("mafw", 5, 11)
    assert (
        published_on("mafw", 5, 43)
        == published_on("dfew", 4, 7)
        == published_on("mine", 5, 7)
        == ()
    )
    for rows in PUBLISHED.values():
        assert all(one.source and (one.uar or one.war) for one in rows)
        of_authors = {(one.uar, one.war) for one in rows if one.method == "MMA-DFER 2024"}
        assert len(of_authors) == 2
    # A mean is that of its folds where those are known.
    folds = [one for one in PUBLISHED["dfew"] if one.method.startswith("MAE-DFER") and one.fold]
    mean = next(one for one in PUBLISHED["dfew"] if one.method.startswith("MAE-DFER"))
    assert np.mean([one.uar for one in folds]) == pytest.approx(mean.uar, abs=0.01)
    assert np.mean([one.war for one in folds]) == pytest.approx(mean.war, abs=0.01)


def test_latex_has_the_cells_of_the_table():
    table = Table(["arm & leg", "UAR"], [["a_b", "1.0 ± 0.2"], ["c", "ΔX −3 %"], ["d"]], ruled=(2,))
    text = table.latex("a remark")
    assert text.splitlines()[2:] == [
        *(r"\begin{tabular}{lr}", r"\toprule", r"arm \& leg & UAR \\", r"\midrule"),
        *(r"a\_b & 1.0 $\pm$ 0.2 \\", r"c & $\Delta$X $-$3 \% \\", r"\midrule"),
        *(r"\multicolumn{2}{l}{d} \\", r"\bottomrule", r"\end{tabular}"),
    ]
    assert table.markdown().splitlines()[0] == "| arm & leg | UAR |"


def test_a_bar_in_a_name_does_not_break_a_row_of_markdown():
    assert Table(["a", "b"], [["x|y", "1"]]).markdown().splitlines()[2] == r"| x\|y | 1 |"


@pytest.mark.parametrize("report", ["study_report", "folds_report"])
def test_latex_is_whole(report, request):
    """Every row has as many cells as there are columns, and nothing of TeX's is left bare."""
    folder = request.getfixturevalue(report)
    files = sorted(folder.glob("*.tex"))
    assert len(files) == (2 if report == "study_report" else 3)
    for file in files:
        lines = [line for line in file.read_text().splitlines() if not line.startswith("%")]
        columns = len(re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[0])[1])
        for line in (line for line in lines if line.endswith(r"\\")):
            spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + spanned == columns
            assert not re.search(r"(?<!\\)[%#_]|[^\x00-\x7f]", line)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="left out: no pdflatex here")
@pytest.mark.parametrize("report", ["study_report", "folds_report"])
def test_latex_compiles(report, request, tmp_path):
    folder = request.getfixturevalue(report)
    parts = [f"\\input{{{file}}}\n\n" for file in sorted(folder.glob("*.tex"))]
    head = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "paper.tex").write_text(head + "".join(parts) + "\\end{document}\n")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Undefined" not in done.stdout
    assert (tmp_path / "paper.pdf").stat().st_size > 1000
