import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import stand_ins
from video_files import corners, tone, write_video

from data_prep import sources
from data_prep.__main__ import main
from data_prep.listing import Clip, Known, Listing
from data_prep.report import page, sheets
from data_prep.report.finding import FAULT, GOOD, NOTE, PREPARED, WARNING
from data_prep.report.findings import assess
from data_prep.report.terminal import show
from mmadfer_jax.clips.clip import FEW_FRAMES, NO_FACE, NO_SOUND, PrepareSettings
from mmadfer_jax.clips.frame_folder import NOT_SQUARE
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg
from mmadfer_jax.clips.media import read_header, read_sound_rate
from mmadfer_jax.errors import UserError

SETTINGS = PrepareSettings(image_size=32)
CLASSES = ("happy", "sad", "fear")
LABELS = [0] * 3 + [1] * 2 + [2]  # of six clips in each of two parts


def make_listing(**changes):
    clips = [
        Clip(f"{part}_{n}", Path(f"{n}.mp4"), label, part, f"{n}.mp4")
        for part in ("part1", "part2")
        for n, label in enumerate(LABELS)
    ]
    known = Known(12, {"part1": 6, "part2": 6}, (6, 4, 2))
    return dataclasses.replace(Listing("set", CLASSES, clips, known), **changes)


def entries_of(listing, **changes):
    """Lines of a manifest of clips without fault."""
    return [
        {
            "id": clip.id,
            "split": clip.split,
            "label": clip.label,
            "status": "skipped" if clip.missing else "written",
            "reason": clip.missing,
            "problems": [],
            "num_frames": 30,
            "sample_rate": 44100,
            "face_share": 1.0,
            "sha256": clip.id,
            **changes,
        }
        for clip in listing.clips
    ]


def found(listing, entries, level=None):
    report = assess(listing, entries, SETTINGS, PREPARED)
    json.dumps(report)
    return [f for f in report["findings"] if level in (None, f["level"])]


def test_a_dataset_without_fault():
    listing = make_listing()
    assert {f["level"] for f in found(listing, entries_of(listing))} == {GOOD}
    said = " ".join(f["what"] for f in found(listing, entries_of(listing)))
    assert "all 12 clips that are listed are there" in said
    assert "counts as published: all clips, each split, each class" in said
    assert "sound at one rate: 44100 Hz" in said
    assert "no two clips have the same content" in said
    assert "a face in each of the 12 clips" in said
    assert "and in 100.0% of their frames" in said


def test_labels_in_another_order_are_told_from_wrong_counts():
    listing = make_listing()
    swap = {0: 1, 1: 0, 2: 2}
    clips = [dataclasses.replace(clip, label=swap[clip.label]) for clip in listing.clips]
    swapped = dataclasses.replace(listing, clips=clips)
    (fault,) = found(swapped, entries_of(swapped), FAULT)
    assert fault["what"] == "class counts as published, but in another order of labels"
    assert "happy has 4, as sad should" in fault["detail"]
    clips[0] = dataclasses.replace(clips[0], label=2)
    other = dataclasses.replace(listing, clips=clips)
    (fault,) = found(other, entries_of(other), FAULT)
    assert fault["what"] == "classes differ from the published ones"
    assert "happy 4 for 6" in fault["detail"]


def test_clips_that_lack_are_counted_by_split():
    listing = make_listing()
    less = dataclasses.replace(listing, clips=listing.clips[:-1])
    what = [f["what"] for f in found(less, entries_of(less), FAULT)]
    assert "11 clips, published are 12" in what
    assert "splits differ from the published ones" in what
    known = dataclasses.replace(listing.known, num_classes=4)
    fewer = dataclasses.replace(listing, known=known)
    (fault,) = found(fewer, entries_of(fewer), FAULT)
    assert fault["what"] == "3 classes, published are 4"


def test_missing_and_faulty_clips():
    listing = make_listing()
    clips = list(listing.clips)
    clips[0] = dataclasses.replace(clips[0], missing="0.mp4: no such file")
    listing = dataclasses.replace(listing, clips=clips)
    entries = entries_of(listing)
    entries[5] |= {"status": "skipped", "reason": "5.mp4: broken"}
    report = assess(listing, entries, SETTINGS, PREPARED)
    assert report["clips"] == {"listed": 12, "usable": 10, "missing": 1, "faulty": 1}
    assert report["left_out"] == {"part1_0": "0.mp4: no such file", "part1_5": "5.mp4: broken"}
    text = Outline(page.render(report, [])).text
    assert text.count("0.mp4: no such file") == text.count("5.mp4: broken") == 2  # one, and all
    assert report["usable"]["part1"] == [2, 2, 0]
    assert report["listed"]["part1"] == [3, 2, 1]
    said = {f["what"]: f for f in report["findings"]}
    assert said["1 of 12 clips is not there"]["clips"] == ["part1_0"]
    assert said["1 of 12 clips cannot be used"]["detail"] == "5.mp4: broken"
    assert said["classes without a clip"]["detail"] == "none of fear in part1"
    entries[11] |= {"status": "skipped", "reason": "11.mp4: broken"}
    said = {f["what"]: f for f in found(listing, entries)}
    assert said["classes without a clip"]["detail"] == "fear in no split"


def test_duplicates():
    listing = make_listing()
    entries = entries_of(listing)
    entries[6]["sha256"] = entries[0]["sha256"]  # same class, other part
    entries[4]["sha256"] = entries[3]["sha256"]  # same class and part
    entries[11]["sha256"] = entries[7]["sha256"]  # other class, same part
    said = {f["what"]: f for f in found(listing, entries)}
    across = said["2 clips have the content of a clip in another split"]
    assert (across["level"], across["clips"]) == (FAULT, ["part1_0", "part2_0"])
    labels = said["2 clips have the content of a clip in another class"]
    assert (labels["level"], labels["clips"]) == (FAULT, ["part2_1", "part2_5"])
    within = said["4 clips have the content of a clip in the same split"]
    assert within["level"] == WARNING


def test_labels_against_folders():
    listing = make_listing()
    clips = [
        dataclasses.replace(c, source=f"{CLASSES[c.label].title()}/1.mp4") for c in listing.clips
    ]
    good = dataclasses.replace(listing, clips=clips)
    assert any("labels fit" in f["what"] for f in found(good, entries_of(good), GOOD))
    clips[0] = dataclasses.replace(clips[0], source="Fear/1.mp4")
    bad = dataclasses.replace(listing, clips=clips)
    (fault,) = found(bad, entries_of(bad), FAULT)
    assert "called like another class" in fault["what"]
    assert fault["detail"] == "part1_0 is labelled happy in fear"


def test_sound_and_faces():
    listing = make_listing()
    entries = entries_of(listing)
    entries[1] |= {"face_share": 0.25, "problems": [NO_SOUND], "sample_rate": 0}
    said = [f["what"] for f in found(listing, entries, WARNING)]
    assert said == [
        "1 of 12 clips: no sound",
        "1 of 12 clips show a face in less than half of the frames",
    ]
    entries[0] |= {"face_share": 0.0, "problems": [NO_FACE]}
    (share,) = (f["what"] for f in found(listing, entries, NOTE) if "a face in" in f["what"])
    assert "in 11 of the 12 clips" in share
    assert f"and in {10.25 / 12:.1%} of their frames" in share
    assert any(
        "sound at one rate: 44100 Hz (11 clips)" in f["what"] for f in found(listing, entries)
    )


def said_of_sound(listing, entries, settings=SETTINGS):
    report = assess(listing, entries, settings, PREPARED)
    return [(f["level"], f["what"]) for f in report["findings"] if "sound" in f["what"]]


def test_sound_that_somebody_has_resampled():
    listing = make_listing()
    entries = entries_of(listing, sample_rate=16000)
    met = "sound at one rate: 16000 Hz (12 clips)"
    low = "12 of 12 clips have sound at 16000 Hz or less"
    assert said_of_sound(listing, entries) == [(WARNING, low), (NOTE, met)]
    asked = dataclasses.replace(SETTINGS, sample_rate=16000)
    assert said_of_sound(listing, entries, asked) == [(GOOD, met)]
    known = dataclasses.replace(listing.known, sample_rate=16000)
    released = dataclasses.replace(listing, known=known)
    assert said_of_sound(released, entries) == [(GOOD, met)]
    other = "sound at 44100 Hz (12 clips), released at 16000 Hz"
    assert said_of_sound(released, entries_of(released)) == [(WARNING, other)]
    entries = entries_of(listing)
    entries[0]["sample_rate"] = 48000
    mixed = "sound at 2 rates: 44100 Hz (11 clips), 48000 Hz (1 clip)"
    assert said_of_sound(listing, entries) == [(NOTE, mixed)]


def test_a_dataset_without_sound():
    listing = make_listing()
    entries = entries_of(listing, sample_rate=0, problems=[NO_SOUND])
    assert said_of_sound(listing, entries) == [(WARNING, "12 of 12 clips: no sound")]
    known = dataclasses.replace(listing.known, sample_rate=0)
    listing = dataclasses.replace(listing, known=known)
    assert said_of_sound(listing, entries) == [(NOTE, "12 of 12 clips: no sound")]


def test_the_table_has_the_published_counts(capsys):
    long = "a very long name of a class that must stay whole"
    listing = make_listing(classes=(long, "sad", "fear"))
    clips = [
        dataclasses.replace(c, split={"part1": "test", "part2": "train"}[c.split])
        for c in listing.clips[1:]
    ]
    listing = dataclasses.replace(listing, clips=clips, known=Known(12, {"train": 6, "test": 6}))
    entries = entries_of(listing)
    entries[0] |= {"status": "skipped", "reason": "1.mp4: broken"}
    show(assess(listing, entries, SETTINGS, PREPARED), entries)
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in said.splitlines()]
    assert ["class", "train", "test", "all"] in rows
    assert [long, "3", "1 of 2", "4 of 5"] in rows
    assert ["all", "6", "4 of 5", "10 of 11"] in rows
    assert ["published", "6", "6", "12"] in rows
    assert "fault: 1 of 11 clips cannot be used\n  1.mp4: broken\n" in said
    assert "fault: splits differ from the published ones (test 5 for 6)" in said


def test_the_worst_clips_come_first_and_the_choice_is_fixed():
    entries = entries_of(make_listing())
    entries[3]["problems"] = [FEW_FRAMES]
    entries[7] |= {"problems": [NO_FACE], "face_share": 0.0}
    entries[9]["status"] = "skipped"
    chosen = sheets.choose(entries, worst=5, together=6)
    assert [(entry["id"], why) for entry, why in chosen][:3] == [
        ("part2_1", "worst"),
        ("part1_3", "worst"),
        (chosen[2][0]["id"], "random"),
    ]
    assert len(chosen) == 6
    assert chosen == sheets.choose(entries[::-1], worst=5, together=6)
    assert not any(entry["id"] == "part2_3" for entry, _ in chosen)


def test_sheets_show_16_frames_in_order_and_the_sound():
    frames = [encode_jpeg(np.full((32, 32, 3), 4 * n, np.uint8), 95) for n in range(48)]
    log_mel = np.full((100, 128), -16, np.float32)
    log_mel[:, :10] = 4.0  # low notes only
    sheet = sheets.draw({}, "random", frames, log_mel)
    crops = decode_jpeg(sheet.crops)
    cells = [crops[52 + 107 * (n // 4), 52 + 107 * (n % 4)].mean() for n in range(16)]
    assert np.allclose(cells, 4 * np.arange(1, 48, 3), atol=3)
    picture = decode_jpeg(sheet.log_mel)
    assert picture[-4:].mean() > 150 > 20 > picture[:64].mean()
    assert sheet.seconds == pytest.approx(1.015)
    assert sheets.draw({}, "random", frames[:1], None).log_mel is None


class Outline(HTMLParser):
    """Checks that tags are closed, and gathers what a page refers to."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_one_file_and_well_formed():
    listing = make_listing(name="a<b", notes=("sound: <none>",))
    entries = entries_of(listing)
    entries[0] |= {"id": "<script>", "problems": ["<odd>"]}
    report = assess(listing, entries, SETTINGS, PREPARED)
    frames = [encode_jpeg(np.zeros((32, 32, 3), np.uint8), 95)]
    shown = [sheets.draw(entry, why, frames, None) for entry, why in sheets.choose(entries)]
    html = page.render(report, shown)
    outline = Outline(html)
    assert "<script>" in outline.text  # as text
    assert "<odd>" in outline.text
    assert len(outline.links) == 12
    assert all(link.startswith("data:image/jpeg;base64,") for link in outline.links)
    assert not re.search(r"https?://|@import|url\(", html)
    assert "width=device-width" in html
    assert "1 warning" in outline.text.split("Findings")[0]
    assert "nothing wrong" not in outline.text


def test_the_page_says_first_whether_all_is_well_and_marks_other_counts():
    def texts(**changes):
        listing = make_listing(**changes)
        report = assess(listing, entries_of(listing), SETTINGS, PREPARED)
        html = page.render(report, [])
        return Outline(html).text.split("Findings")[0], re.findall(r'"differs">(\d+)', html)

    start, differing = texts()
    assert "nothing wrong" in start
    assert differing == []
    start, differing = texts(known=Known(13, {"part1": 7, "part2": 6}, (6, 5, 2)))
    assert "3 faults" in start
    assert differing == ["5", "13", "7", "13"]


# Files looked at without decoding


def test_headers(tmp_path):
    video = write_video(tmp_path / "1.mp4", corners(17), sound=tone(0.5, 22050), sample_rate=22050)
    assert read_header(video) == (17, None)
    assert read_header(video, count=True) == (17, 17)
    assert read_sound_rate(video) == 22050
    silent = write_video(tmp_path / "2.mp4", corners(3))
    assert read_sound_rate(silent) == 0
    (tmp_path / "3.mp4").write_text("text\n" * 100)
    with pytest.raises(UserError, match="not a video"):
        read_header(tmp_path / "3.mp4")


def test_a_clip_that_is_only_looked_at(tmp_path):
    video = write_video(tmp_path / "1.mp4", corners(3))
    twin = tmp_path / "2.mp4"
    shutil.copy(video, twin)
    one, two = (sources.inspect(Clip(p.stem, p, 0, "train", p.name)) for p in (video, twin))
    assert one["problems"] == [NO_SOUND, FEW_FRAMES]
    assert (one["status"], one["num_frames"], one["declared_frames"]) == ("found", 3, 3)
    assert one["sha256"] == two["sha256"]
    video.write_bytes(b"")
    broken = sources.inspect(Clip("1", video, 0, "train", "1.mp4"))
    assert broken["status"] == "skipped"
    assert "0 bytes" in broken["reason"]
    video.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    pointer = sources.inspect(Clip("1", video, 0, "train", "1.mp4"))
    assert "a pointer of Git LFS" in pointer["reason"]


def test_a_folder_of_frames_that_is_only_looked_at(tmp_path):
    for number in range(1, 13):
        picture = encode_jpeg(np.full((30, 40, 3), number, np.uint8), 90)
        (tmp_path / f"{number}.jpg").write_bytes(picture)
    clip = Clip("1", tmp_path, 0, "train", "1", is_frames=True, listed_frames=11)
    entry = sources.inspect(clip)
    assert (entry["num_frames"], entry["declared_frames"]) == (12, 11)
    assert set(entry["problems"]) == {
        sources.FRAME_ORDER,
        sources.FRAME_COUNTS,
        NOT_SQUARE,
        NO_SOUND,
        FEW_FRAMES,
    }
    (tmp_path / "1.jpg").write_bytes(picture[:-50])
    assert "1.jpg: cut off" in sources.inspect(clip)["reason"]


# The command


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """MAFW with a clip missing, one broken and one silent, only looked at."""
    source, out = tmp_path_factory.mktemp("MAFW"), tmp_path_factory.mktemp("out")
    rows = stand_ins.few(stand_ins.numbered(dict.fromkeys(range(1, 6), (1, 1))))
    stand_ins.mafw_official(source, rows)
    (source / "clips").mkdir()
    for number, _, _ in rows[1:]:
        sound = None if number == 3 else tone(0.3, 16000, hertz=100 * number)
        frames = (frame + np.uint8(number) for frame in corners(16))
        write_video(source / f"clips/{number:05d}.mp4", frames, sound=sound)
    (source / "clips/00004.mp4").write_text("an error page of the server\n" * 20)
    flags = [f"--source={source}", f"--out={out}", "--image_size=32", "--faces=none"]
    main(["--dataset=mafw", *flags, "--workers=1", "--check"])
    return out, flags


def test_check_reports_and_prepares_nothing(checked):
    out, _ = checked
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json"]
    report = json.loads((out / "report.json").read_text())
    assert report["stage"] == "checked"
    assert report["clips"] == {"listed": 10, "usable": 8, "missing": 1, "faulty": 1}
    assert report["sample_rates"] == {"16000": 7}
    assert report["known"]["splits"]["part1"] == 1839
    said = [f["what"] for f in report["findings"]]
    assert "1 of 8 clips: no sound" in said
    assert "10 clips, published are 9172" in said
    outline = Outline((out / "report.html").read_text())
    assert len(outline.links) == 2 * 8 - 1  # 16 crops of each clip, sound of all but one


def test_preparing_goes_into_the_folder_that_was_checked(checked, tmp_path, capsys):
    before, flags = checked
    out = tmp_path / "out"
    shutil.copytree(before, out)
    main(["--dataset=mafw", flags[0], f"--out={out}", *flags[2:], "--workers=1", "--shards=1"])
    report = json.loads((out / "report.json").read_text())
    assert report["stage"] == "prepared"
    assert report["clips"]["usable"] == 8
    assert "fault: 1 of 10 clips is not there" in capsys.readouterr().out
