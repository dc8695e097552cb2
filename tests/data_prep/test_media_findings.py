from types import SimpleNamespace

from data_prep.report import media
from mmadfer_jax.clips import container, sound_track


def test_problems_of_one_kind_are_one_finding_whatever_their_details():
    entries = [
        {"id": "1", "problems": [f"{container.SEVERAL_SOUNDS}: 2, track 1 (aac, 44100 Hz) taken"]},
        {"id": "2", "problems": [f"{container.SEVERAL_SOUNDS}: 3, track 2 (aac, 48000 Hz) taken"]},
        {"id": "3", "problems": [sound_track.SILENT]},
    ]
    findings = media.of_problems(SimpleNamespace(known=None), entries, media.CHECKED, 0)
    assert [(found["what"], found["clips"]) for found in findings] == [
        (f"2 of 3 clips: {container.SEVERAL_SOUNDS}", ["1", "2"]),
        (f"1 of 3 clips: {sound_track.SILENT}", ["3"]),
    ]
    assert all(found["detail"] for found in findings)
