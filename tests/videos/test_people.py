"""`people` and `scenes` are modules of benchmarks/, which print the figures that are held here."""

import numpy as np
import people as benchmark
import pytest
from scenes import write

from mmadfer_jax.timelines.timeline import Timeline
from mmadfer_jax.videos import quality
from mmadfer_jax.videos.looking import Look
from mmadfer_jax.videos.people import People, Stretch, Track, overlap

EVERY, RATE = 5, 25.0  # so a face is bridged over 12 frames, and given up after 25
PICTURE = np.random.default_rng(0).integers(0, 256, (120, 400, 3)).astype(np.uint8)


def _look(*boxes: tuple[float, ...]) -> Look:
    n = len(boxes)
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    ones = np.ones(n, np.float32)
    return Look(np.array(boxes, np.float32).reshape(n, 4), ones, landmarks, ones, 0 * ones)


def _at(x: float, y: float = 20, side: float = 60) -> tuple[float, ...]:
    return x, y, x + side, y + side


def _follow(looks: dict[int, list], end: int, **options) -> dict[int, dict[int, np.ndarray]]:
    """Boxes by person and frame, of looks by frame; frame numbers of cuts hold `None`."""
    people = People(EVERY, RATE, most_held=60, **options)
    kept: list[tuple[Track, Stretch]] = []
    settled = -1
    for frame in range(end):
        if frame in looks:
            if looks[frame] is None:
                kept += people.cut(frame)
                continue
            kept += people.look(frame, PICTURE, _look(*looks[frame]))
            assert settled <= people.settled <= frame
            assert people.needed <= frame + 1
            settled = people.settled
    kept += people.cut(end)
    found: dict[int, dict[int, np.ndarray]] = {}
    for track, stretch in kept:
        if track.person is None:
            assert track.dropped
            continue
        boxes = found.setdefault(track.person, {})
        for frame, box in enumerate(stretch.boxes, stretch.first):
            assert frame not in boxes, "a frame twice"
            boxes[frame] = box
    return found


def test_boxes_lie_between_those_found():
    found = _follow({0: [_at(10)], 5: [_at(20)], 10: [_at(40)]}, end=13)
    lefts = [found[1][frame][0] for frame in range(13)]
    np.testing.assert_allclose(
        lefts, [10, 12, 14, 16, 18, 20, 24, 28, 32, 36, 40, 40, 40], rtol=1e-6
    )


def test_who_comes_or_goes_between_two_looks_is_there_for_half_of_the_time():
    found = _follow({0: [], 5: [_at(10)], 10: [_at(10)], 15: [], 20: [], 25: [], 30: []}, end=31)
    assert sorted(found[1]) == list(range(3, 13))


@pytest.mark.parametrize(
    ("missing", "bridged", "people"), [(2, True, 1), (4, False, 1), (6, False, 2)]
)
def test_a_missing_face_is_bridged_or_waited_for_or_given_up(missing, bridged, people):
    looks = {0: [_at(10)], 5: [_at(10)]}
    looks |= {5 * k: [] for k in range(2, 2 + missing)}
    back = 5 * (2 + missing)
    looks |= {back: [_at(12)], back + 5: [_at(12)]}
    found = _follow(looks, end=back + 6)
    assert len(found) == people
    frames = {frame for boxes in found.values() for frame in boxes}
    assert (set(range(6, back)) <= frames) == bridged
    if not bridged:
        assert frames == set(range(8)) | set(range(back - 2, back + 6))


def test_what_is_found_once_and_not_again_is_no_face():
    found = _follow({5 * k: [_at(10), *([_at(300)] if k == 2 else [])] for k in range(10)}, end=50)
    assert list(found) == [1]


def test_what_is_found_in_the_only_look_there_is_is_one():
    assert sorted(_follow({0: [_at(10)]}, end=3)[1]) == [0, 1, 2]


def test_a_cut_ends_everyone():
    looks = {0: [_at(10)], 5: [_at(10)], 8: None, 10: [_at(10)], 15: [_at(10)]}
    found = _follow(looks, end=16)
    assert sorted(found[1]) == list(range(8))
    assert sorted(found[2]) == list(range(8, 16))


def test_a_jump_to_another_place_is_another_person():
    looks = {0: [_at(10)], 5: [_at(10)], 10: [_at(250)], 15: [_at(250)]}
    assert len(_follow(looks, end=20)) == 2


def test_two_who_cross_keep_their_numbers():
    looks = {}
    for frame in range(0, 100, 5):
        left, right = _at(10 + 3 * frame), _at(310 - 3 * frame)
        covered = abs(left[0] - right[0]) < 40  # the right one stands behind
        looks[frame] = [left] if covered else [right, left]
    found = _follow(looks, end=100)
    ends = {tuple(round(float(boxes[f][0])) for f in (0, 95)) for boxes in found.values()}
    assert ends == {(10, 295), (310, 25)}


def test_who_comes_back_is_known_by_the_face():
    """The embedding is made of the place, in this test."""

    def recognise(rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        return np.eye(4, dtype=np.float32)[int(landmarks[0, 0]) // 100]

    def look(*boxes):
        found = _look(*boxes)
        return found._replace(landmarks=np.array([np.full((5, 2), box[0]) for box in boxes]))

    people = People(EVERY, RATE, 60, recognise)
    script = [[_at(10)]] * 3 + [[_at(210)]] * 12 + [[_at(10)]] * 8 + [[_at(10), _at(210)]] * 3
    tracks = []
    for number, boxes in enumerate(script):
        tracks += [track for track, _ in people.look(number * EVERY, PICTURE, look(*boxes))]
    people.cut(len(script) * EVERY)
    persons = {(round(float(t.last.box[0])), t.first): t.person for t in dict.fromkeys(tracks)}
    assert persons == {(10, 0): 1, (210, 15): 2, (10, 75): 1, (210, 115): 2}


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_found_each_frame_has_a_person_once(seed):
    rng = np.random.default_rng(seed)
    looks = {
        frame: [_at(*rng.uniform((0, 0), (340, 60))) for _ in range(rng.integers(0, 4))]
        for frame in range(0, 200, EVERY)
    }
    looks[90] = None
    for boxes in _follow(looks, end=203).values():
        assert min(boxes) >= 0
        assert max(boxes) < 203


def test_overlap_is_the_share_of_the_union():
    a, b = np.array(_at(0, 0, 10)), np.array(_at(5, 0, 10))
    assert overlap(a, b) == pytest.approx(1 / 3)
    assert overlap(a, a) == 1
    assert overlap(a, np.array(_at(20))) == 0


def _scene(name: str, folder) -> tuple[Timeline, dict]:
    scenes = benchmark.SCENES[name]
    video = write(folder / "scene.mp4", scenes, voice=None)
    found = benchmark.timeline_of(video, benchmark.by_colour)
    truth = [seen for scene in scenes for seen in scene.truth()]
    return found, benchmark.compare(found.faces, truth)


@pytest.mark.parametrize("name", ["two cross", "one leaves and returns", "a cut and back"])
def test_rendered_people_keep_their_numbers(name, tmp_path):
    _, counted = _scene(name, tmp_path)
    assert counted["numbers"] == counted["people"] == 2
    assert counted["switches"] == 0
    assert counted["missed"] + counted["no_face"] <= 0.03 * counted["faces"]
    assert counted["idf1"] > 0.98


def test_a_photo_on_the_wall_is_marked(tmp_path):
    found, counted = _scene("a photo on the wall", tmp_path)
    assert counted["numbers"] == 2
    by_person = {
        int(person): [
            quality.UNMOVED in notes
            for notes, p in zip(found.windows.notes, found.windows.person, strict=True)
            if p == person
        ]
        for person in found.persons
    }
    assert all(by_person[1])  # the photo, on the left
    assert not any(by_person[2])
    assert f"person 1 {quality.UNMOVED}" in found.problems
