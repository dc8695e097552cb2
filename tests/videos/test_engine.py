"""Timelines of rendered people; those of odd files are in `test_bad_input`."""

import dataclasses
import math
import threading

import numpy as np
import pytest
from scenes import Actor, Scene, still, write
from video_files import corners, write_video
from watched import make_model, write_face

from mmadfer_jax.clips import media
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.metrics import softmax
from mmadfer_jax.videos import engine, quality, rows
from mmadfer_jax.videos.seen import Seen


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def face_video(tmp_path_factory):
    return write_face(tmp_path_factory.mktemp("face"))


def _answer(model, prediction) -> list[float]:
    return [prediction.probabilities[name] for name in model.classes]


@pytest.mark.parametrize(
    "settings", [{}, {"face": "track"}, {"sample_rate": 8000}, {"face_margin": 0.2}]
)
@pytest.mark.parametrize("every", [1, 5])
def test_a_window_of_the_whole_clip_gives_the_answer_of_predict(face_video, settings, every):
    model = make_model(detect_every=every, **settings)
    found = model.timeline(face_video, window=10, detect_every=every)
    expected = _answer(model, model.predict(face_video))
    assert found.windows.person.tolist() == [1]
    np.testing.assert_allclose(found.windows.probabilities[0], expected, atol=1e-6)
    assert np.ptp(expected) > 0.01, "the answer says nothing"


def test_whole_pictures_are_one_person_where_the_models_clips_were_so(face_video):
    model = make_model(faces="none", min_face=20)
    found = model.timeline(face_video, window=10)
    expected = _answer(model, model.predict(face_video))
    np.testing.assert_allclose(found.windows.probabilities, [expected], atol=1e-6)
    np.testing.assert_array_equal(found.faces.box[7], [0, 0, 320, 180])
    assert np.isnan(found.windows.score).all()
    assert found.windows.notes == ((),)


def test_a_window_of_very_many_frames_is_thinned_out_as_a_clip_is(tmp_path):
    model = make_model(faces="none", min_face=20)
    video = write_video(tmp_path / "long.mp4", corners(1100, 32, 24))
    found = model.timeline(video, window=60)
    expected = _answer(model, model.predict(video))
    np.testing.assert_allclose(found.windows.probabilities, [expected], atol=1e-6)
    assert found.windows.frames.tolist() == [1100]


@pytest.mark.parametrize("face", ["union", "track"])
def test_a_window_is_answered_as_a_clip_made_of_it(face_video, tmp_path, face):
    """The part is written without loss, so that only its frames decide."""
    model = make_model(face=face, detect_every=1)
    found = model.timeline(face_video, window=1.0, hop=0.5, detect_every=1, sound=False)
    frames = [frame.rgb for frame in media.read_video(face_video)]
    assert found.windows.start.tolist() == [0, 0.5, 1, 1.5, 2]
    for row, start in enumerate(found.windows.start):
        part = np.stack(frames[math.ceil(start * 25) :][:25])
        np.testing.assert_allclose(
            found.windows.probabilities[row], _answer(model, model.predict(part)), atol=1e-6
        )


def _leaving(x: float, y: float, side: float, after: float, pace: float):
    """Someone who stays, and then walks out of the picture with a pace in pixels a second."""
    stays = still(x, y, side)
    return lambda t: (stays(t)[0] + pace * max(0.0, t - after), y, side)


@pytest.fixture(scope="module")
def couple(model, tmp_path_factory):
    """The small face stays longer than the large one; then nobody is there."""
    folder = tmp_path_factory.mktemp("couple")
    small = Actor(8, _leaving(90, 100, 110, 3.5, -300))
    scene = Scene(5, (small, Actor(3, _leaving(220, 95, 150, 1.5, 300))), size=(320, 180))
    video = write(folder / "two.mp4", [scene])
    return video, model.timeline(video, window=1.0, hop=0.5)


def test_each_person_has_a_row_in_each_window_and_nobody_has_one_too(couple):
    _, found = couple
    windows = found.windows
    by_window = {}
    for start, person in zip(windows.start.tolist(), windows.person.tolist(), strict=True):
        by_window.setdefault(start, []).append(person)
    assert by_window[0] == by_window[1.0] == [1, 2]
    assert by_window[2.5] == by_window[3.0] == [1]
    assert by_window[4.0] == [0]
    assert found.persons == (1, 2)
    np.testing.assert_allclose(windows.probabilities[windows.person > 0].sum(axis=1), 1, rtol=1e-5)
    assert np.isnan(windows.probabilities[windows.person == 0]).all()
    assert windows.notes[-1] == (quality.NO_FACE,)
    assert rows.SEVERAL in found.problems


def test_what_is_said_of_windows_is_so(couple):
    _, found = couple
    windows, faces = found.windows, found.faces
    for row in np.flatnonzero(windows.person):
        start, end, person = windows.start[row], windows.end[row], windows.person[row]
        inside = (faces.time >= start - 1e-3) & (faces.time < end - 1e-3)
        mine = inside & (faces.person == person)
        assert windows.frames[row] == 25
        assert windows.face_share[row] == pytest.approx(mine.sum() / 25)
        sides = (faces.box[mine][:, 2:] - faces.box[mine][:, :2]).max(axis=1)
        assert windows.face_size[row] == pytest.approx(np.median(sides))
        seen = mine & faces.detected
        assert windows.score[row] == pytest.approx(faces.score[seen].mean(), rel=1e-5)
        assert windows.blur[row] == pytest.approx(np.median(faces.blur[seen]), rel=1e-5)
        assert (quality.RARELY_SEEN in windows.notes[row]) == (windows.face_share[row] < 0.5)
    order = np.lexsort((faces.person, faces.frame))
    assert (order == np.arange(len(order))).all()
    np.testing.assert_allclose(faces.time, faces.frame / 25, atol=1e-6)
    assert np.isnan(faces.score[~faces.detected]).all()
    assert (faces.frame[faces.detected] % found.settings["looked_every"] == 0).all()
    assert (found.num_frames, found.size, found.frame_rate) == (125, (320, 180), 25)
    assert found.duration == pytest.approx(5)
    assert found.sample_rate == 16000


def test_who_is_wanted_is_answered_for(model, couple):
    video, all_of_them = couple
    largest = model.timeline(video, window=1.0, hop=0.5, person="largest")
    assert largest.windows.person.tolist() == [2, 2, 2, 2, 1, 1, 1, 1, 0]
    second = model.timeline(video, window=1.0, hop=0.5, person=2)
    assert second.windows.person.tolist() == [2, 2, 2, 2, 0, 0, 0, 0, 0]
    assert second.windows.notes[5] == (quality.OTHERS,)
    mine = all_of_them.windows.person == 2
    np.testing.assert_allclose(
        second.windows.probabilities[:4], all_of_them.windows.probabilities[mine], atol=1e-6
    )
    np.testing.assert_array_equal(second.faces.box, all_of_them.faces.box)


def test_sound_and_pictures_may_be_left_out(model, couple):
    video, both = couple
    silent = model.timeline(video, window=1.0, hop=0.5, sound=False)
    assert np.isnan(silent.windows.sound_level).all()
    assert engine.PICTURE_ALONE in silent.problems
    blind = model.timeline(video, window=1.0, hop=0.5, picture=False)
    assert blind.persons == (0,)
    assert blind.windows.start.tolist() == np.unique(both.windows.start).tolist()
    assert np.isfinite(blind.windows.probabilities).all()
    assert {segment.person for segment in blind.segments} == {0}
    assert engine.SOUND_ALONE in blind.problems
    asked = both.windows.person > 0
    answers = both.windows.probabilities[asked]
    assert np.abs(silent.windows.probabilities[asked] - answers).max() > 1e-4
    for other in (silent, blind):
        assert other.windows.probabilities.shape[1] == 3


def test_how_many_are_asked_at_once_does_not_matter(model, couple):
    video, expected = couple
    seen = []
    found = model.timeline(
        video, window=1.0, hop=0.5, batch=3, watching=lambda *asked: seen.append(asked)
    )
    np.testing.assert_allclose(
        found.windows.probabilities, expected.windows.probabilities, atol=1e-6
    )
    questions = [question for asked in seen for question in zip(*asked, strict=True)]
    answered = np.isfinite(found.windows.probabilities).all(axis=1)
    for (frames, sound), answer in zip(
        questions, found.windows.probabilities[answered], strict=True
    ):
        again = softmax(model.logits(frames[None], sound[None]))[0]
        np.testing.assert_allclose(again, answer, atol=1e-6)


def test_progress_rises_to_the_end(model, face_video):
    shares = []
    model.timeline(face_video, progress=shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 5
    assert shares[-1] == 1


def test_windows_are_asked_while_the_video_is_read_and_then_let_go(model, face_video, monkeypatch):
    most, said = [], []

    class Counted(Seen):
        def forget(self, before):
            most.append(max(map(len, self._newest.values()), default=0))
            super().forget(before)

    monkeypatch.setattr(engine, "Seen", Counted)
    model.timeline(
        face_video,
        window=0.6,
        hop=0.2,
        progress=said.append,
        watching=lambda *_: said.append("asked"),
    )
    before_the_end = said[: max(i for i, what in enumerate(said) if what != "asked" and what < 1)]
    assert before_the_end.count("asked") > 0.6 * said.count("asked")
    assert max(most) <= 0.6 * 25 + 2 * 5 + 1  # frames of a window, and those until the next look


def test_threads_may_share_a_model(face_video, couple):
    fresh, found = make_model(), {}

    def run(number: int) -> None:
        if number % 2:
            found[number] = fresh.timeline(couple[0], window=1.0, hop=0.5)
        else:
            found[number] = fresh.predict(face_video)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[2] == fresh.predict(face_video)
    for number in (1, 3):
        for field in dataclasses.fields(couple[1].windows):
            values = [getattr(t.windows, field.name) for t in (found[number], couple[1])]
            if field.name == "notes":
                assert values[0] == values[1]
            else:
                np.testing.assert_allclose(*values, atol=1e-6)


def test_a_missing_file_is_one_line(model, tmp_path):
    with pytest.raises(UserError, match=r"absent\.mp4: no such file"):
        model.timeline(tmp_path / "absent.mp4")
    with pytest.raises(UserError, match="window 0"):
        model.timeline(tmp_path / "absent.mp4", window=0)
