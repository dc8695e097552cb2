import threading
import uuid

import numpy as np
import pytest
from PIL import Image
from upath import UPath
from video_files import tone, write_video

from mmadfer_jax import files
from mmadfer_jax.clips.clip import NO_SOUND, PrepareSettings
from mmadfer_jax.clips.frame_folder import (
    NOT_SQUARE,
    in_text_order,
    list_frames,
    prepare_frame_folder,
)
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg
from mmadfer_jax.errors import UserError

SETTINGS = PrepareSettings(image_size=32)


def fill(folder, names, height=32, width=32):
    """Frames that get brighter in the order of `names`."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        grey = np.full((height, width, 3), 8 * number, np.uint8)
        (folder / name).write_bytes(encode_jpeg(grey, 95))
    return folder


def brightness(frames):
    return [round(decode_jpeg(data).mean() / 8) for data in frames]


@pytest.mark.parametrize("name", ["{}.jpg", "{:03d}.JPG", "clip7_frame{}.jpeg", "7-{}-of-18.jpg"])
def test_frames_come_in_order_of_time(tmp_path, name):
    names = [name.format(number) for number in range(1, 19)]
    folder = fill(tmp_path / "1", names)
    (folder / "._1.jpg").write_bytes(b"of macOS")
    (folder / "box.txt").write_text("1 2 3 4")
    paths = list_frames(folder)
    assert [path.name for path in paths] == names
    assert in_text_order(paths) == (name == "{:03d}.JPG")
    made = prepare_frame_folder(folder, SETTINGS)
    assert brightness(made.frames) == list(range(18))
    assert made.problems == [NO_SOUND]


def test_frames_of_the_right_size_stay_as_they_are(tmp_path):
    folder = fill(tmp_path / "1", [f"{i}.jpg" for i in range(16)])
    made = prepare_frame_folder(folder, SETTINGS)
    assert made.frames == [path.read_bytes() for path in list_frames(folder)]
    other = prepare_frame_folder(folder, PrepareSettings(image_size=16))
    assert decode_jpeg(other.frames[3]).shape == (16, 16, 3)
    assert brightness(other.frames) == list(range(16))


def test_files_that_readers_see_differently_are_written_anew(tmp_path):
    folder = fill(tmp_path / "1", [f"{i}.jpg" for i in range(16)])
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16] = 200  # bright above, in the file; to be turned by 180 degrees
    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x0112] = 3
    image.save(folder / "3.jpg", quality=95, exif=exif)
    # A byte too many before the end, at which some readers only shrug.
    odd = encode_jpeg(picture, 95)
    (folder / "4.jpg").write_bytes(odd[:-2] + b"\0" * 9 + odd[-2:])
    made = prepare_frame_folder(folder, SETTINGS)
    files = [path.read_bytes() for path in list_frames(folder)]
    kept = [frame == file for frame, file in zip(made.frames, files, strict=True)]
    assert [i for i, same in enumerate(kept) if not same] == [3, 4]
    assert decode_jpeg(made.frames[3])[:14].max() < 20
    assert decode_jpeg(made.frames[3])[18:].min() > 180
    assert decode_jpeg(made.frames[4])[:14].min() > 180


def test_frames_behind_a_url_are_fetched_several_at_once(tmp_path, monkeypatch):
    local = fill(tmp_path / "1", [f"{i}.jpg" for i in range(24)])
    remote = UPath(f"memory://{uuid.uuid4()}")
    for path in local.iterdir():
        (remote / path.name).write_bytes(path.read_bytes())
    together, read_bytes = threading.Barrier(4), files.read_bytes

    def wait_for_others(path):
        together.wait(timeout=10)  # raises where fewer than four are on their way
        return read_bytes(path)

    monkeypatch.setattr(files, "read_bytes", wait_for_others)
    made = prepare_frame_folder(remote, SETTINGS)
    monkeypatch.undo()
    assert made.frames == prepare_frame_folder(local, SETTINGS).frames


def test_sound_comes_from_elsewhere(tmp_path):
    folder = fill(tmp_path / "1", ["1.jpg", "2.jpg"])
    wav = write_video(tmp_path / "1.wav", [], sound=tone(0.5, 44100), sample_rate=44100,
                      sound_codec="pcm_s16le")  # fmt: skip
    made = prepare_frame_folder(folder, SETTINGS, wav)
    assert made.sample_rate == 44100
    assert made.spectrogram.shape == (48, 128)
    assert made.problems == []


def test_whole_pictures_are_noticed(tmp_path):
    folder = fill(tmp_path / "1", [f"{i}.jpg" for i in range(16)], height=36, width=64)
    assert NOT_SQUARE in prepare_frame_folder(folder, SETTINGS).problems


def test_bytes_behind_the_end_of_a_picture_are_no_damage(tmp_path):
    folder = fill(tmp_path / "1", ["1.jpg", "2.jpg"])
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes() + bytes(200))
    made = prepare_frame_folder(folder, SETTINGS)
    assert made.frames == [path.read_bytes() for path in list_frames(folder)]
    assert brightness(made.frames) == [0, 1]


@pytest.mark.parametrize("side", [32, 200])
def test_a_picture_with_a_hole_is_refused(tmp_path, side):
    folder = fill(tmp_path / "1", ["1.jpg", "2.jpg"])
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    data = encode_jpeg(noise, 95)
    third = len(data) // 3
    (folder / "2.jpg").write_bytes(data[:third] + bytes(third) + data[2 * third :])
    with pytest.raises(UserError, match=r"2\.jpg: damaged.*; extract it again"):
        prepare_frame_folder(folder, SETTINGS)


def test_what_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="no such folder of frames"):
        prepare_frame_folder(tmp_path / "absent", SETTINGS)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="a folder without frames"):
        prepare_frame_folder(empty, SETTINGS)
    folder = fill(tmp_path / "1", ["1.jpg", "2.jpg"])
    whole = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"2\.jpg: cut off"):
        prepare_frame_folder(folder, SETTINGS)
    (folder / "2.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"2\.jpg: not a picture \(0 bytes\)"):
        prepare_frame_folder(folder, SETTINGS)
