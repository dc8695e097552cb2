"""Each part of the model is needed by construction: proved on the parameters of clips."""

import dataclasses
import itertools

import numpy as np
import pytest

from data_prep.synthetic.sample import Picture, Voice, expression_contour, sample_clip, syllables
from data_prep.synthetic.script import ACTIONS, CLASSES, MOTIONS, PAIR, TAKES, TRACK

SEEDS = range(40)


def clip_of(name, seed, take=0):
    return sample_clip((*CLASSES, *PAIR).index(name), seed, take)


def same(a, b):
    """Whether two dataclasses hold the same numbers, bit for bit."""
    pairs = ((getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return all(np.array_equal(x, y) for x, y in pairs)


def backwards(picture):
    return dataclasses.replace(picture, track=picture.track[::-1])


def test_classes_are_those_of_dfew():
    assert CLASSES == ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    assert tuple(TAKES) == CLASSES + PAIR


@pytest.mark.parametrize("seed", SEEDS)
def test_surprise_and_fear_differ_only_in_sound(seed):
    surprise, fear = clip_of("Surprise", seed), clip_of("Fear", seed)
    assert same(surprise.picture, fear.picture)
    assert not np.allclose(surprise.voice.pitch, fear.voice.pitch, rtol=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_angry_and_disgust_differ_only_in_pictures(seed):
    angry, disgust = clip_of("Angry", seed), clip_of("Disgust", seed)
    assert same(angry.voice, disgust.voice)
    assert np.abs(angry.picture.track - disgust.picture.track).max() > 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_happy_and_neutral_differ_only_in_the_order_of_frames(seed):
    happy, neutral = clip_of("Happy", seed), clip_of("Neutral", seed)
    assert same(happy.voice, neutral.voice)
    assert same(backwards(happy.picture), neutral.picture)
    smile = TRACK.index("corner_pull")
    peaks = [np.argmax(c.picture.track[:, smile]) for c in (happy, neutral)]
    assert peaks[1] < len(happy.picture.track) / 2 < peaks[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_neither_modality_tells_the_pair(seed):
    """Both classes show the same two pictures and speak with the same two voices, crosswise."""
    (one, other), (first, second) = (
        [clip_of(name, seed, take) for take in (0, 1)] for name in PAIR
    )
    assert same(one.picture, first.picture)
    assert same(other.picture, second.picture)
    assert same(one.voice, second.voice)
    assert same(other.voice, first.voice)
    assert np.abs(one.picture.track - other.picture.track).max() > 0.5
    assert not np.allclose(one.voice.pitch, other.voice.pitch, rtol=0.05)


def test_lips_do_not_tell_the_voice_of_the_pair():
    talk = TRACK.index("talk")
    one, other = (clip_of("Congruent", 4, take).picture.track[:, talk] for take in (0, 1))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", PAIR)
@pytest.mark.parametrize("take", [0, 1])
@pytest.mark.parametrize("other", CLASSES)
def test_the_pair_is_told_from_other_classes_by_its_pictures(name, take, other):
    apexes = [clip_of(n, 5, t).picture.track for n, t in ((name, take), (other, 0))]
    muscles = [track[:, : len(ACTIONS)].max(axis=0) for track in apexes]
    assert np.abs(muscles[0] - muscles[1]).max() > 0.5


@pytest.mark.parametrize("names", list(itertools.combinations(CLASSES, 2)), ids="-".join)
def test_all_other_pairs_differ_in_any_order_of_pictures(names):
    """Sad and Fear have voices of their own, the others share one."""
    a, b = (clip_of(name, 3) for name in names)
    alike = {
        "sound": same(a.voice, b.voice),
        "picture": same(a.picture, b.picture),
        "reversed": same(backwards(a.picture), b.picture),
    }
    expected = set() if {"Sad", "Fear"} & set(names) else {"sound"}
    expected |= {("Surprise", "Fear"): {"picture"}, ("Happy", "Neutral"): {"reversed"}}.get(
        names, set()
    )
    assert {kind for kind, value in alike.items() if value} == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_but_face_and_manner_depends_on_the_class(seed):
    clips = [sample_clip(label, seed) for label in range(len(CLASSES))]
    first = clips[0]
    for clip in clips[1:]:
        assert same(clip.picture.looks, first.picture.looks)
        assert clip.picture.fps == first.picture.fps
        for name in ("samples", "tract", "room", "noise_seed"):
            assert getattr(clip.voice, name) == getattr(first.voice, name)
        moves, those = (c.picture.track[:, len(ACTIONS) :] for c in (clip, first))
        if TAKES[CLASSES[clip.label]][0].backwards:
            moves = moves[::-1]
        for k, name in enumerate(MOTIONS):
            if name != "talk":
                np.testing.assert_array_equal(moves[:, k], those[:, k], err_msg=name)


def test_head_motion_has_no_arrow_of_time():
    """Speeds of sways are as often up as down, and what differs start from end is chance."""
    tracks = [clip_of("Sad", seed).picture.track for seed in range(300)]
    for name in ("yaw", "pitch", "roll", "shift_x", "gaze_y"):
        column = TRACK.index(name)
        drift = np.array([t[-1, column] - t[0, column] for t in tracks])
        assert abs(drift.mean()) < 3.5 * drift.std() / np.sqrt(len(drift)), name
    blinks = np.array([t[:, TRACK.index("blink")].argmax() / (len(t) - 1) for t in tracks])
    assert abs(blinks.mean() - 0.5) < 0.1


def test_a_clip_is_a_function_of_class_and_seed():
    one, again, other = (clip_of("Sad", seed) for seed in (5, 5, 6))
    assert same(one.picture, again.picture)
    assert same(one.voice, again.voice)
    assert not same(one.picture.looks, other.picture.looks)


@pytest.mark.parametrize("name", CLASSES)
def test_expressions_go_through_onset_apex_and_offset(name):
    face, _, reverse = TAKES[name][0]
    share = np.linspace(0, 1, 1001)
    for stretch in ((0.0, 0.0), (0.04, -0.04), (-0.04, 0.04)):
        curve = expression_contour(share, face, np.array(stretch))
        assert curve[0] == curve[-1] == 0.0
        assert curve.max() == 1.0
        apex = np.flatnonzero(curve == 1.0)
        assert (np.diff(curve[: apex[0] + 1]) >= 0).all()
        assert (np.diff(curve[apex[-1] :]) <= 0).all()
    track = clip_of(name, 7).picture.track
    for action, amount in face.apex.items():
        seen = track[:, TRACK.index(action)]
        assert 0.75 * amount < seen.max() <= amount
        assert seen[[0, -1]].max() < 0.1
        rise = np.flatnonzero(seen > 0.5 * seen.max())
        assert not reverse or rise[0] < len(seen) / 2
    rest = [k for k, action in enumerate(ACTIONS) if action not in face.apex]
    assert not track[:, rest].any()


def test_syllables_are_the_same_backwards():
    times = (np.arange(40) + 0.5) / 20
    for take in (take for takes in TAKES.values() for take in takes):
        manner = take.voice
        loudness, index = syllables(times, 2.0, manner, np.array((0.3, -0.5, 0.8)))
        np.testing.assert_allclose(loudness, loudness[::-1], atol=1e-12)
        assert index.max() + 1 == pytest.approx(manner.rate * 2.0 * 0.8, abs=1.0)
        assert loudness.min() >= 0
        assert loudness.max() <= 1


def test_lips_move_with_the_voice():
    for name in CLASSES:
        clip = clip_of(name, 11)
        talk = clip.picture.track[:, TRACK.index("talk")]
        times = (np.arange(len(talk)) + 0.5) / clip.picture.fps
        energy = clip.voice.energy[np.minimum((times * 200).astype(int), len(clip.voice.pitch) - 1)]
        assert np.corrcoef(talk, energy)[0, 1] > 0.8, name


def test_parameters_are_within_their_bounds():
    for seed in SEEDS:
        clip = sample_clip(seed % len(CLASSES), seed)
        assert isinstance(clip.picture, Picture)
        assert isinstance(clip.voice, Voice)
        seconds = len(clip.picture.track) / clip.picture.fps
        assert 1.5 < seconds < 2.5
        assert clip.voice.samples == round(seconds * 16_000)
        assert clip.voice.pitch.min() > 60
        assert clip.voice.pitch.max() < 600
        assert (clip.voice.energy >= 0).all()
