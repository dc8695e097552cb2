"""`annotated.mp4`: the video with boxes, names and running probabilities, its sound kept."""

import contextlib
import heapq
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    VideoReformatter,
)
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.clips import container as containers
from mmadfer_jax.clips.sound_track import SoundTrack
from mmadfer_jax.clips.timed import read_header, read_pictures
from mmadfer_jax.errors import UserError
from mmadfer_jax.timelines.drawing import Boxes
from mmadfer_jax.timelines.strip import Strip
from mmadfer_jax.timelines.timeline import Timeline

NAME = "annotated.mp4"
_LONGEST, _NARROWEST = 1920, 480  # pixels of the pictures
_LETTERS = 45  # of that size go into the width
_CLOCK = Fraction(1, 90_000)  # seconds; all usual rates are whole numbers of it
_QUALITY = {"preset": "veryfast", "crf": "22", "bf": "0"}  # without B-frames times are plain
_COPIED = ("aac", "mp3", "mp3float", "opus", "flac")  # what MP4 may hold and browsers play
_AAC_RATES = av.Codec("aac", "w").audio_rates
# What FFmpeg takes numbers of channels for.
_LAYOUTS = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")


def write_annotated(
    timeline: Timeline, folder: Path | UPath, video: Path | None
) -> list[Path | UPath]:
    """Writes the video with what is said of it; nothing without a video or without pictures.

    H.264 in yuv420p, as browsers play it, with the times of the frames. Pictures are turned as a
    player turns them, and brought to between 480 and 1,920 pixels.

    Raises:
        UserError: The video cannot be read.
    """
    if video is None or not timeline.num_frames:
        return []
    path = folder / NAME
    with files.whole(path) as unfinished:
        # The muxer tells the format by an option, since the name is not the last one.
        options = {"movflags": "+faststart"}
        with av.open(str(unfinished), "w", format="mp4", options=options) as output:
            _encode(timeline, video, output)
    return [path]


Piece = tuple[float, list[av.Packet]]  # of a stream: seconds, and what is to be written then


def _encode(timeline: Timeline, video: Path, output: av.container.OutputContainer) -> None:
    width, height = _size(timeline.size)
    letters = max(12, width // _LETTERS)
    strip = Strip(timeline, width, letters)
    stream = output.add_stream("libx264", rate=round(timeline.frame_rate) or 1, options=_QUALITY)
    stream.width, stream.height, stream.pix_fmt = width, height + strip.height, "yuv420p"
    coder = stream.codec_context
    coder.time_base = _CLOCK
    coder.colorspace, coder.color_range = Colorspace.ITU709, ColorRange.MPEG
    coder.color_primaries, coder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    with containers.open_media(video) as container:
        sound = _sound(video, container, output)
        pictures = _pictures(timeline, video, (width, height), letters, strip)
        merged = heapq.merge(_encoded(pictures, stream), sound, key=lambda piece: piece[0])
        for _, packets in merged:
            output.mux(packets)


def _size(shown: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the pictures, both even, as H.264 in yuv420p wants them."""
    width, height = shown
    scale = min(max(1, _NARROWEST / width), _LONGEST / max(width, height))
    return _even(width * scale), _even(height * scale)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def _pictures(
    timeline: Timeline, video: Path, size: tuple[int, int], letters: int, strip: Strip
) -> Iterator[tuple[float, np.ndarray]]:
    """Time and annotated picture of each frame."""
    faces, boxes = timeline.faces, Boxes(timeline, letters)
    scale = np.tile(np.array(size) / timeline.size, 2)
    frames = read_pictures(video, read_header(video), problems=[])
    for number, (rgb, time) in enumerate(frames):
        picture = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        first, end = np.searchsorted(faces.frame, (number, number + 1))
        for row in range(first, end):
            boxes.draw(picture, time, int(faces.person[row]), faces.box[row] * scale)
        yield time, np.concatenate([picture, strip.draw(time)])


def _encoded(
    pictures: Iterator[tuple[float, np.ndarray]], stream: av.video.stream.VideoStream
) -> Iterator[Piece]:
    last, reformatter = -1, VideoReformatter()
    for time, picture in pictures:
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(picture, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
        )
        last = max(round(time / _CLOCK), last + 1)  # in some broken files time goes back
        frame.pts, frame.time_base = last, _CLOCK
        yield time, stream.encode(frame)
    yield math.inf, stream.encode(None)


def _sound(
    video: Path, container: av.container.InputContainer, output: av.container.OutputContainer
) -> Iterator[Piece]:
    """The sound, copied where MP4 and browsers know its format; made into AAC else."""
    try:
        source = containers.sound_stream(video, container)
    except UserError:  # in an unknown format
        source = None
    if source is None:
        return iter(())
    if source.codec_context.name in _COPIED:
        start = containers.pictures_start(container) or 0.0
        return _copied(container, source, output.add_stream_from_template(source), start)
    rate = source.codec_context.sample_rate
    target = output.add_stream("aac", rate=rate if rate in _AAC_RATES else 48_000)
    target.layout = "mono" if source.codec_context.channels == 1 else "stereo"
    return _as_aac(SoundTrack(video, container, source), target)


def _copied(
    container: av.container.InputContainer,
    source: av.audio.stream.AudioStream,
    target: av.audio.stream.AudioStream,
    start: float,
) -> Iterator[Piece]:
    last, early = -math.inf, round(start / source.time_base)
    for packet in containers.packets(container, source):
        if packet is None or not packet.size or packet.dts is None:
            continue
        packet.dts, packet.pts = packet.dts - early, packet.pts and packet.pts - early
        if packet.dts > last and (packet.dts >= 0 or not early):  # none from before the pictures
            last, time = packet.dts, float(packet.dts * packet.time_base)
            packet.stream = target
            yield time, [packet]


def _heard(track: SoundTrack) -> Iterator[np.ndarray]:
    with contextlib.suppress(UserError):  # mostly broken; what there is is heard
        yield from track.pieces()


def _as_aac(track: SoundTrack, target: av.audio.stream.AudioStream) -> Iterator[Piece]:
    place = 0
    for samples in _heard(track):
        samples = np.ascontiguousarray(samples[: len(_LAYOUTS)])
        layout = _LAYOUTS[len(samples) - 1]
        frame = av.AudioFrame.from_ndarray(samples, format="s16p", layout=layout)
        frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
        frame.pts = place
        yield place / track.rate, target.encode(frame)
        place += samples.shape[1]
    yield math.inf, target.encode(None)
