"""A media file opened: its streams, its packets, and whether they are all there."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import av

from mmadfer_jax.clips import damage
from mmadfer_jax.errors import UserError

SEVERAL_VIDEOS = "several picture tracks"
SEVERAL_SOUNDS = "several sound tracks"
CUT = "cut off near its end"

# FFmpeg takes any .txt file for a film of text-mode art.
_TEXT_CODECS = {"ansi", "bintext", "idf", "xbin"}
# They read other files, and URLs, that the opened one names.
_PLAYLISTS = {"concat", "dash", "hls", "imf", "rtsp", "sap", "sdp", "webm_dash_manifest"}
# Their declared length counts from 0, wherever their first packet stands.
_FROM_ZERO = {"asf", "matroska,webm", "nut"}
_UNREADABLE_IN_A_ROW = 1000
_WHOLE = 0.9  # share of seconds or bytes with which a clip is taken


@contextlib.contextmanager
def open_media(path: str | Path) -> Iterator[av.container.InputContainer]:
    """Opens a file, and turns what FFmpeg has to say about it into a `UserError`."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        raise UserError(f"{path}: not a file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: empty, 0 bytes")
    opened = False
    try:
        # Absolute, or FFmpeg takes `one:two.mp4` for a protocol. Tags in odd encodings are common
        # and of no interest.
        with av.open(
            str(path.absolute()),
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file", "format_whitelist": _formats()},
        ) as container:
            opened = True
            yield container
    except av.FFmpegError as error:
        what = "broken" if opened else "not a video or sound file"
        if not opened and isinstance(error, av.error.ArgumentError):
            what = "a playlist that names other files, or not a video or sound file"
        raise UserError(f"{path}: {what} ({error.strerror})") from error


@functools.cache
def _formats() -> str:
    return ",".join(sorted(av.formats_available - _PLAYLISTS))


def video_stream(
    path: str | Path, container: av.container.InputContainer
) -> av.video.stream.VideoStream:
    """The stream of the pictures, the best in FFmpeg's opinion.

    Raises:
        UserError: There is none, or none that can be decoded.
    """
    streams = videos(container)
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UserError(f"{path}: holds no video, only: {kinds}")
    stream = _best(container, "video", streams)
    codec = stream.codec_context
    if codec is None:
        raise UserError(f"{path}: video in a format that FFmpeg does not know")
    if codec.name in _TEXT_CODECS:
        raise UserError(f"{path}: a text file, not a video")
    return stream


def videos(container: av.container.InputContainer) -> list[av.video.stream.VideoStream]:
    """The streams of moving pictures, not the cover of a song."""
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def sound_stream(
    path: str | Path, container: av.container.InputContainer
) -> av.audio.stream.AudioStream | None:
    """The sound track that is best in FFmpeg's opinion; None where there is none.

    Raises:
        UserError: None can be decoded.
    """
    streams = container.streams.audio
    if not streams:
        return None
    stream = _best(container, "audio", streams)
    if stream.codec_context is None:
        raise UserError(f"{path}: sound in a format that FFmpeg does not know")
    return stream


def _best(
    container: av.container.InputContainer, kind: str, streams: Sequence[av.stream.Stream]
) -> av.stream.Stream:
    known = [stream for stream in streams if stream.codec_context is not None]
    best = container.streams.best(kind)
    return best if best in known else (known or streams)[0]


def which(stream: av.stream.Stream, streams: Sequence[av.stream.Stream], kind: str) -> list[str]:
    """Says which of several tracks was taken; nothing where there is one."""
    if len(streams) < 2:
        return []
    codec = stream.codec_context
    form = f"{codec.width}x{codec.height}" if stream.type == "video" else f"{codec.sample_rate} Hz"
    number = streams.index(stream) + 1
    return [f"{kind}: {len(streams)}, track {number} ({codec.name}, {form}) taken"]


def packets(
    container: av.container.InputContainer, *streams: av.stream.Stream
) -> Iterator[av.Packet | None]:
    """The packets of some streams, or of all; None for each place that cannot be read."""
    in_a_row = 0
    while in_a_row < _UNREADABLE_IN_A_ROW:
        try:
            for packet in container.demux(*streams):
                in_a_row = 0
                yield packet
            return
        except av.FFmpegError:
            in_a_row += 1
            yield None


def pictures_start(container: av.container.InputContainer) -> float | None:
    """When the pictures start, in seconds, by header and first packets; None if there are none."""
    streams = videos(container)
    return _start(_best(container, "video", streams)) if streams else None


def _start(stream: av.stream.Stream) -> float | None:
    return None if stream.start_time is None else float(stream.start_time * stream.time_base)


class Ending:
    """Tells a cut-off file from one whose header lies.

    Where fewer seconds come than the header declares, the file's own parts decide: it is cut off if
    the last of them is longer than what there is of it.
    """

    def __init__(self, path: str | Path, container: av.container.InputContainer):
        self._path, self._container = path, container
        self._ends: dict[int, int] = {}  # by stream, in its own unit of time
        self._last: av.Packet | None = None
        self._unreadable = False

    def saw(self, packet: av.Packet | None) -> None:
        """Takes notice of one of all packets."""
        if packet is None:
            self._unreadable = True
            return
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None:
            end = time + (packet.duration or 0)
            self._ends[packet.stream_index] = max(end, self._ends.get(packet.stream_index, end))
        if packet.size:
            self._last = packet

    def problems(self) -> list[str]:
        """What a user should know, after the last packet.

        Raises:
            UserError: The file is cut off.
        """
        size, extent = self._container.size, damage.extent(self._path)
        cut = extent > size if extent else self._last is not None and self._last.is_corrupt
        short = self._short()
        what = None
        if short and (cut or self._unreadable or self._is_unread()):
            what = f"it ends at {short[0]:.1f} s of the {short[1]:.1f} s its header declares"
        elif extent and size < _WHOLE * extent:
            what = f"there are {size} of its {extent} bytes"
        if what:
            raise UserError(
                f"{self._path}: cut off, {what}; copy it again (or, if it is whole, rewrite it "
                "with `ffmpeg -i OLD -c copy NEW`)"
            )
        return [CUT] if cut else []

    def _short(self) -> tuple[float, float] | None:
        """Seconds there are and seconds declared, where these are clearly more."""
        container = self._container
        last, first = 0.0, (container.start_time or 0) / av.time_base
        lengths = []
        for stream in container.streams:
            if stream.index not in self._ends or not stream.time_base:
                continue
            end = float(self._ends[stream.index] * stream.time_base)
            last = max(last, end)
            # One stream may lie behind the other in the file, and be lost alone.
            if stream.duration and stream.type in ("audio", "video"):
                length = float(stream.duration * stream.time_base)
                lengths.append((end - (_start(stream) or 0.0), length))
        if container.format.name in _FROM_ZERO:
            first, lengths = 0.0, []
        lengths.append((last - first, (container.duration or 0) / av.time_base))
        for there, declared in lengths:
            if there < _WHOLE * declared:
                return there, declared
        return None

    def _is_unread(self) -> bool:
        """Whether FFmpeg lost its way in a file without an index to find it again by."""
        end = self._container.size if self._container.format.name == "flv" else None
        if self._container.format.name == "matroska,webm":
            end = damage.end_of_clusters(self._path)
        if end is None or self._last is None or self._last.pos is None:
            return False
        return self._last.pos + self._last.size < _WHOLE * end
