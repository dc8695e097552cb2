"""The page in a real browser, on a small model; left out where there is no Gradio or Chromium."""

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from browser import WIDTHS, chromium, overflow, page_of
from conftest import SMALL
from golden_weights import random_params
from video_files import corners, write_video

from data_prep.synthetic import render_clip
from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.weights.model_files import save_model

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("happy", "sad", "neutral")
SECONDS, MEGABYTES = 5, 2  # what the page takes
_LONG = 120_000  # milliseconds, on a busy machine


class _Server(NamedTuple):
    process: subprocess.Popen
    address: str
    folder: Path  # of all its temporary files

    def files(self, kind: str) -> list[Path]:
        found = next(self.folder.glob("mmadfer_page_*"))
        return [path for path in (found / kind).rglob("*") if path.is_file()]

    def keeps_no_upload(self) -> bool:
        """Whether all are gone, or go within ten seconds; files may go while they are listed."""
        for _ in range(100):
            with contextlib.suppress(FileNotFoundError):
                if not self.files("uploads"):
                    return True
            time.sleep(0.1)
        return False


def _serve(model: Path, folder: Path) -> _Server:
    command = [sys.executable, "-m", "mmadfer_jax.serve", f"--checkpoint={model}", "--port=0"]
    command += [f"--max_seconds={SECONDS}", f"--max_megabytes={MEGABYTES}"]
    environment = {**os.environ, "TMPDIR": str(folder), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    line = process.stdout.readline()
    return _Server(process, re.search(r"http://\S+", line)[0], folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[_Server]:
    pytest.importorskip("gradio", reason="left out: no Gradio here; `make browser` installs it")
    folder = tmp_path_factory.mktemp("model")
    card = ModelCard(
        model=SMALL,
        classes=CLASSES,
        preparation=PrepareSettings(image_size=32, sample_rate=16000, min_face=60).to_dict(),
        data={"name": "the clips of a test", "train": {"clips": 1234}},
    )
    save_model(folder / "small.safetensors", random_params(SMALL), card, layout="own")
    temporary = tmp_path_factory.mktemp("temporary")
    server = _serve(folder / "small.safetensors", temporary)
    yield server
    server.process.send_signal(signal.SIGTERM)
    server.process.communicate(timeout=30)
    assert list(temporary.glob("mmadfer_page_*")) == []


@pytest.fixture(scope="module")
def browser(server):
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two seconds of a talking face."""
    return Path(render_clip(3, 7, tmp_path_factory.mktemp("clip") / "Zoë & co.mp4"))


def _ask(page, server: _Server, file: Path | None) -> None:
    page.goto(server.address)
    if file is not None:
        page.locator("input[type=file]").first.set_input_files(file)
        page.locator("video").first.wait_for()
    page.get_by_role("button", name="Answer").click()


def _refusal(page) -> str:
    page.locator(".refusal").wait_for(timeout=_LONG)
    return page.locator(".refusal").inner_text()


def test_clip_is_chosen_answered_for_and_its_files_come_back(browser, server, clip, tmp_path):
    with page_of(browser) as page:
        asked = set()
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        _ask(page, server, clip)
        report = page.frame_locator("iframe.report")
        report.locator("h1").get_by_text("Zoë & co.mp4").wait_for(timeout=_LONG)
        assert report.locator(".lane h3").all_inner_texts() == ["person 1"]
        assert set(report.locator(".now li span:first-child").all_inner_texts()) == set(CLASSES)
        assert report.locator(".segment").count() >= 1
        seen = report.locator("img.seen")
        assert seen.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
        player = "video => video.readyState >= 1 && video.duration > 1"
        report.locator("video").wait_for()
        page.wait_for_timeout(300)
        assert report.locator("video").evaluate(player)
        assert "1,234 clips of the dataset the clips of a test" in page.content()
        with page.expect_download() as download:
            page.get_by_text("Download all files").click()
        download.value.save_as(tmp_path / "all.zip")
        with page.expect_download() as download:
            report.get_by_role("link", name="timeline.csv").click()
        download.value.save_as(tmp_path / "timeline.csv")
        assert asked <= {urlsplit(server.address).netloc, ""}
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert {"report.html", "annotated.mp4", "timeline.eaf"} <= set(packed.namelist())
        table = packed.read("timeline.csv")
    assert table == (tmp_path / "timeline.csv").read_bytes()
    assert table.decode().splitlines()[1].startswith("Zoë & co.mp4,1,0.000,")
    assert server.keeps_no_upload()
    assert not any(path.name == clip.name for path in server.files("results"))


@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_its_window(browser, server, width):
    with page_of(browser, width) as page:
        page.goto(server.address)
        page.get_by_role("button", name="Answer").wait_for()
        assert overflow(page) <= 0


def test_hostile_clips_get_an_answer(browser, server, tmp_path):
    long = write_video(tmp_path / "long.mp4", corners(8), rate=1)
    text = tmp_path / "text.mp4"
    text.write_text("<script>alert(1)</script>")
    playlist = tmp_path / "playlist.mp4"
    playlist.write_text("ffconcat version 1.0\nfile '/etc/hostname'\n")
    with page_of(browser) as page:
        _ask(page, server, None)
        assert _refusal(page) == "no clip yet; choose or record one"
        for file, said in (
            (long, f"long.mp4: longer than {SECONDS} s"),
            (text, "text.mp4: not a video or sound file"),
            (playlist, "playlist.mp4: a playlist that names other files"),
        ):
            _ask(page, server, file)
            assert _refusal(page).startswith(said)
    assert server.keeps_no_upload()
    assert not any("text" in path.name for path in server.files("results"))


def test_several_at_once_wait_for_each_other(browser, server, clip):
    with page_of(browser) as one, page_of(browser) as other:
        _ask(one, server, clip)
        _ask(other, server, clip)  # the same file, which the first must not take from it
        for page in (one, other):
            page.frame_locator("iframe.report").locator(".lane").first.wait_for(timeout=_LONG)
    assert server.keeps_no_upload()


def test_recorded_clip(browser, server):
    """WebM without a length in its header."""
    with page_of(browser) as page:
        page.goto(server.address)
        page.get_by_label("Capture from camera").click()
        page.get_by_text("Click to Access Webcam").click()
        page.locator("button", has_text="Record").click()
        page.wait_for_timeout(1500)
        page.locator("button", has_text="Stop").click()
        page.wait_for_timeout(1000)
        page.get_by_role("button", name="Answer").click()
        report = page.frame_locator("iframe.report")
        report.get_by_text("No person was answered for.").wait_for(timeout=_LONG)


def _request(server: _Server, method: str, path: str, body=None, headers=None):
    place = urlsplit(server.address).netloc
    with contextlib.closing(http.client.HTTPConnection(place, timeout=60)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")


def _upload(server: _Server, name: str, data: bytes) -> tuple[int, str]:
    border = uuid.uuid4().hex
    head = f'Content-Disposition: form-data; name="files"; filename="{name}"'
    body = f"--{border}\r\n{head}\r\nContent-Type: video/mp4\r\n\r\n".encode() + data
    body += f"\r\n--{border}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={border}"}
    return _request(server, "POST", "/gradio_api/upload", body, kind)


def test_uploads_stay_in_their_folder_and_within_their_size(server):
    before = set(server.folder.rglob("*"))
    status, told = _upload(server, "../../../../evil.mp4", b"no video")
    assert status == 200
    (path,) = (Path(path) for path in json.loads(told))
    assert path.parent.parent == next(server.folder.glob("mmadfer_page_*")) / "uploads"
    assert {new.name for new in set(server.folder.rglob("*")) - before} == {
        *(path.name, path.parent.name)
    }
    path.unlink()
    status, _ = _upload(server, "large.mp4", bytes(MEGABYTES * 1_000_000 + 1))
    assert status == 413
    assert server.keeps_no_upload()


def test_no_other_file_of_the_machine_is_given_away(server, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_text("secret")
    for path in (
        f"/gradio_api/file={secret}",
        f"/results/..%2f..%2f{secret.name}/x",
        f"/results/{'a' * 22}/..%2f..%2fuploads",
        f"/gradio_api/proxy={server.address}/config",
    ):
        status, told = _request(server, "GET", path)
        assert status in (400, 403, 404), path
        assert "secret" not in told.replace(secret.name, "")
    assert _request(server, "GET", "/", headers={"Host": "evil.example"})[0] == 400
    # Asked past the page, for a file that nobody uploaded.
    _, config = _request(server, "GET", "/config")
    (number,) = (
        each["id"] for each in json.loads(config)["dependencies"] if len(each["inputs"]) == 4
    )
    own = f"{server.address}/config"
    upload = server.folder / "uploads/../secret.mp4"
    paths = (secret, upload, "/etc/hostname", "secret.mp4", own, f"{own}/../../x.mp4")
    for path, stream in itertools.product(paths, (False, True)):
        file = {"path": str(path), "url": str(path), "is_stream": stream}
        data = [{**file, "meta": {"_type": "gradio.FileData"}}, "all people", 2, 0.5]
        body = {"data": data, "fn_index": number, "session_hash": "abc"}
        kind = {"Content-Type": "application/json"}
        status, _ = _request(server, "POST", "/gradio_api/queue/join", json.dumps(body), kind)
        assert status == 200
        _, told = _request(server, "GET", "/gradio_api/queue/data?session_hash=abc")
        assert '"success":false' in told, path
        assert "refusal" not in told
    assert secret.exists()
    assert server.keeps_no_upload()
