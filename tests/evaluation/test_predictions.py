import numpy as np
import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.metrics import softmax
from mmadfer_jax.evaluation.predictions import read_predictions, to_csv


def test_what_is_written_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    ids = ["plain", "with, comma", 'with "quotes"', "名前"]
    logits = rng.normal(size=(4, 3)) * 5
    logits[0] = [400, 0, -400]  # probabilities that are 1 and 0
    answers = Answers(ids, np.array([0, 1, 2, 1], np.int32), logits)
    path = tmp_path / "predictions.csv"
    path.write_text(to_csv(answers, ("a", "b (rare)", "c")))
    found, classes = read_predictions(path)
    assert classes == ("a", "b (rare)", "c")
    assert found.ids == ids
    np.testing.assert_array_equal(found.labels, answers.labels)
    np.testing.assert_allclose(softmax(found.logits), softmax(logits), rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(found.logits.argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "clip,true,predicted,p(a),p(b)\n",
        "name,true,predicted,p(a),p(b)\nx,a,a,1,0\n",
        "clip,true,predicted,p(a),p(b)\nx,a,a,1,0.5\n",
        "clip,true,predicted,p(a),p(b)\nx,a,a,1\n",
        "clip,true,predicted,p(a),p(b)\nx,c,a,1,0\n",
        "clip,true,predicted,a,b\nx,a,a,1,0\n",
    ],
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"is no predictions\.csv of an evaluation"):
        read_predictions(path)
    with pytest.raises(UserError, match="No such file"):
        read_predictions(tmp_path / "nowhere.csv")
