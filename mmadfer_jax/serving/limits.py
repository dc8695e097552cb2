"""What a clip that somebody sends may be, seen from its packets before anything is decoded."""

import dataclasses
from pathlib import Path

import av

from mmadfer_jax.clips import container as containers
from mmadfer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of a clip.

    Attributes:
        megabytes: Of the file.
        seconds: Of pictures or sound.
        pixels: Of a picture; 4K has 8.8 million.
        rate: Pictures a second.
    """

    megabytes: float = 500
    seconds: float = 600
    pixels: int = 4096 * 2304
    rate: float = 240


def check(path: Path, limits: Limits) -> None:
    """Refuses what is too large, whatever its header says.

    A small file may hold hours or gigantic pictures, so every packet is counted.

    Raises:
        UserError: It is no video, or beyond a limit.
    """
    size = path.stat().st_size / 1e6
    if size > limits.megabytes:
        raise UserError(f"{path}: {size:.0f} MB; at most {limits.megabytes:g} MB are taken")
    with containers.open_media(path) as container:
        streams = [*containers.videos(container), *container.streams.audio]
        if not streams:
            raise UserError(f"{path}: holds neither pictures nor sound")
        if containers.videos(container):
            containers.video_stream(path, container)  # complains of unknown formats
        for stream in containers.videos(container):
            _check_picture(path, stream, limits)
        _check_length(path, container, streams, limits)


def _check_picture(path: Path, stream: av.video.stream.VideoStream, limits: Limits) -> None:
    codec = stream.codec_context
    if codec is not None and codec.width * codec.height > limits.pixels:
        raise UserError(
            f"{path}: pictures of {codec.width} x {codec.height}; at most "
            f"{limits.pixels / 1e6:.1f} million pixels are taken, make it smaller"
        )


def _check_length(
    path: Path,
    container: av.container.InputContainer,
    streams: list[av.stream.Stream],
    limits: Limits,
) -> None:
    """Goes through all packets up to the limit; any of the streams may be too long."""
    starts: dict[int, float] = {}
    pictures = 0
    for packet in containers.packets(container, *streams):
        if packet is None or not packet.size:
            continue
        pictures += packet.stream.type == "video"
        time = packet.dts if packet.pts is None else packet.pts
        length = 0.0
        if time is not None:
            time = float(time * packet.time_base)
            length = time - starts.setdefault(packet.stream_index, time)
        if length > limits.seconds or pictures > limits.rate * limits.seconds:
            raise UserError(
                f"{path}: longer than {limits.seconds:g} s, or with more than "
                f"{limits.rate:g} pictures a second; cut it, or use `python -m "
                "mmadfer_jax.timeline`, which takes any length"
            )
