import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from browser import WIDTHS, chromium, overflow, page_of, until
from timelines_made import make_timeline
from video_files import corners, tone, write_video

from mmadfer_jax.clips.frames import decode_jpeg
from mmadfer_jax.timelines import honest
from mmadfer_jax.timelines.drawing import DARK, readable_on
from mmadfer_jax.timelines.watching import Watching

BAD = "</script><img src=x onerror=alert(1)> \"' & ☺"
_EMPTY = {"meta", "br", "img", "input", "link"}


class _Page(HTMLParser):
    """Elements of a page with their attributes; complains of one that is not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self._open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Six seconds with sound."""
    path = tmp_path_factory.mktemp("video") / "Zoë #1?.mp4"
    return write_video(path, corners(72, 320, 192), rate=12, sound=tone(6.0, 16000))


@pytest.fixture(scope="module")
def report(video, tmp_path_factory) -> Path:
    """Of two people, with all files."""
    folder = tmp_path_factory.mktemp("report")
    make_timeline(video=str(video)).save(folder, video=video)
    return folder / "report.html"


def test_page_is_whole_and_asks_no_network(report):
    text = report.read_text()
    page = _Page(text)
    links = [a["href"] for a in page.of("a")] + [v["src"] for v in page.of("video")]
    assert len(links) > 8
    for link in links:
        assert (report.parent / unquote(link)).is_file(), link
    assert not re.search(r"https?://", text)
    assert not page.of("link")
    assert not any("src" in image for image in page.of("img"))
    assert [script.get("src") for script in page.of("script")] == [None, None]
    policy = page.of("meta")[1]["content"]
    assert "default-src 'none'" in policy
    script = re.search("<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_page_says_what_an_answer_is(report):
    text = _Page(report.read_text()).text
    assert honest.MEANING in text
    assert "616 clips of the dataset synthetic" in text
    assert "--groups=TABLE.csv:COLUMN" in text
    for statement in honest.statements(make_timeline()):
        assert statement.replace("`", "") in text


def test_names_are_escaped(tmp_path):
    classes = (BAD, "b", "c", "d")
    timeline = make_timeline(video=f"{BAD}\udcff.mp4", classes=classes)
    timeline = dataclasses.replace(timeline, problems=(BAD,), settings={BAD: {BAD: [BAD]}})
    notes = tuple((BAD,) for _ in timeline.windows.notes)
    windows = dataclasses.replace(timeline.windows, notes=notes)
    dataclasses.replace(timeline, windows=windows, model=BAD).save(tmp_path, ("html",))
    text = (tmp_path / "report.html").read_text()
    page = _Page(text)
    assert {image["class"] for image in page.of("img")} == {"seen"}
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.text.count(BAD) >= 5
    data = re.search('id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(data)["people"][0]["doubts"][0][2] == BAD


def test_page_of_a_video_without_people_or_pictures(tmp_path):
    timeline = dataclasses.replace(make_timeline(people=0), num_frames=0, size=(0, 0))
    timeline.save(tmp_path, ("html",))
    page = _Page((tmp_path / "report.html").read_text())
    assert page.of("video") == []
    assert "No person was answered for." in page.text


def test_original_video_is_linked_where_none_is_written(video, tmp_path):
    make_timeline().save(tmp_path / "out", ("html", "csv"), video)
    page = _Page((tmp_path / "out" / "report.html").read_text())
    (player,) = page.of("video")
    assert (tmp_path / "out" / unquote(player["src"])).resolve() == video
    links = [unquote(link["href"]) for link in page.of("a")]
    assert links == ["timeline.csv", "timeline.json"]


def test_words_on_colours_can_be_read():
    assert [readable_on(colour) for colour in ("#f0e442", "#0072b2", "#8c510a")] == [
        *(DARK, "#ffffff", "#ffffff")
    ]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_its_window(browser, report, width):
    with page_of(browser, width) as page:
        page.goto(report.as_uri())
        until(page, "document.querySelector('video').readyState >= 1")
        assert overflow(page) == 0
        assert page.locator(".segment").count() == 4
        assert page.locator(".axis span").count() >= 3


def _wait_for_clock(page, time: str) -> None:
    until(page, f"document.querySelector('.clock').textContent == '{time}'")


def test_video_and_timeline_go_together(browser, report):
    with page_of(browser) as page:
        page.goto(report.as_uri())
        until(page, "document.querySelector('video').readyState >= 1")
        inner = page.locator(".inner").bounding_box()
        middle = {"x": inner["width"] / 2, "y": inner["height"] - 20}
        page.locator(".inner").click(position=middle)
        _wait_for_clock(page, "0:03.0")
        assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(3)
        head = page.locator(".head").bounding_box()
        assert head["x"] - inner["x"] == pytest.approx(inner["width"] / 2, abs=2)
        shares = page.locator(".now .person").first.locator(".share").all_inner_texts()
        assert sum(int(share.rstrip("%")) for share in shares) == pytest.approx(100, abs=2)
        page.keyboard.press("ArrowRight")
        _wait_for_clock(page, "0:03.5")
        page.locator(".segment").nth(1).focus()
        page.keyboard.press("Enter")
        _wait_for_clock(page, "0:04.1")
        page.evaluate("document.querySelector('video').play()")
        until(page, "document.querySelector('.clock').textContent > '0:04.5'")


def test_doubt_is_told_where_it_is(browser, report):
    timeline = make_timeline()
    row = next(k for k, notes in enumerate(timeline.windows.notes) if notes)
    person = int(timeline.windows.person[row])
    middle = (timeline.windows.start[row] + timeline.windows.end[row]) / 2
    with page_of(browser) as page:
        page.goto(report.as_uri())
        page.evaluate(f"document.querySelector('video').currentTime = {middle}")
        panel = page.locator(".now .person").nth(person - 1)
        panel.get_by_text("blurred, quiet sound").wait_for()


def test_page_shows_what_the_model_saw(browser, tmp_path):
    timeline, rng = make_timeline(), np.random.default_rng(0)
    watching, count = Watching(tmp_path), len(timeline.windows.start)
    for _ in range(count // 2):  # two at a time, and the last one twice
        frames = rng.integers(0, 255, (2, 16, 32, 32, 3), np.uint8)
        watching(frames, rng.normal(size=(2, 512, 128)).astype(np.float32))
    timeline.save(tmp_path, ("html",))
    rows = np.flatnonzero(timeline.windows.person == 2)
    with page_of(browser) as page:
        page.goto((tmp_path / "report.html").as_uri())
        image = page.locator(".now .person").nth(1).locator(".seen")
        assert image.get_attribute("src") == f"seen/{rows[0]:06}.jpg"
        assert image.evaluate("image => image.naturalWidth") == 8 * 75 - 3
        page.locator(".lanes").focus()
        page.keyboard.press("End")
        assert image.get_attribute("src") == f"seen/{rows[-1]:06}.jpg"


def test_what_the_model_heard_is_drawn_as_far_as_it_goes(tmp_path):
    watching, frames = Watching(tmp_path), np.zeros((1, 16, 32, 32, 3), np.uint8)
    full = np.linspace(-10, 0, 512 * 128, dtype=np.float32).reshape(1, 512, 128)
    half = full.copy()
    half[:, 256:] = 0
    for sound in (full, half, 0 * full, 0 * full - 4.5):
        watching(frames, sound)
    drawn = [decode_jpeg(path.read_bytes()) for path in sorted((tmp_path / "seen").iterdir())]
    assert [picture.shape for picture in drawn] == [
        *((2 * 75 - 3 + 128, 597, 3), (2 * 75 - 3 + 128, 597, 3)),
        *((2 * 75 - 3, 597, 3), (2 * 75 - 3, 597, 3)),  # nothing was heard
    ]
    assert drawn[0][-64:].mean() > drawn[1][-64:].mean() + 10  # the louder half is not there


def test_zoom_keeps_the_place(browser, report):
    with page_of(browser, 390) as page:
        page.goto(report.as_uri())
        wide = page.locator(".inner").bounding_box()["width"]
        page.evaluate("document.querySelector('video').currentTime = 5")
        _wait_for_clock(page, "0:05.0")
        page.get_by_label("show closer").click()
        assert page.locator(".inner").bounding_box()["width"] == pytest.approx(2 * wide, abs=2)
        head, lanes = (page.locator(name).bounding_box() for name in (".head", ".lanes"))
        assert lanes["x"] < head["x"] < lanes["x"] + lanes["width"]
        assert overflow(page) == 0


def test_video_that_cannot_be_played(browser, tmp_path):
    (tmp_path / "video.mp4").write_bytes(b"no video")
    make_timeline().save(tmp_path, ("html",), tmp_path / "video.mp4")
    with page_of(browser) as page:
        page.goto((tmp_path / "report.html").as_uri())
        page.get_by_text("This browser cannot play the video").wait_for()
