"""Decoded frames -> pictures as a player shows them: colours, shape of the pixels, rotation."""

import threading

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, VideoReformatter

HDR = "high dynamic range, brought to the standard one"
HDR_AS_IS = "high dynamic range that could not be brought to the standard one, colours are dull"

_UNSAID = 2  # as matrix, curve or primaries
_HDR_CURVES = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_SQUARE = 0.01  # how far from 1 the sides of square pixels may be; containers round them
_LONGEST = 4  # above which the sides are an error of the header


class Pictures:
    """Makes the pictures of one video, all of the size of the first.

    Attributes:
        problems: What a user should know.
    """

    def __init__(self, stream: av.video.stream.VideoStream):
        self.problems: list[str] = []
        self._stream = stream
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """A frame as uint8 [H, W, 3] RGB."""
        self._size = self._size or self._square(frame)
        return _turned(self._rgb(frame).to_ndarray(), frame)

    def _square(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Width and height of a frame in square pixels as wide or high as its own, the longer."""
        width, height = frame.width, frame.height
        aspect = float(self._stream.sample_aspect_ratio or 1)
        if abs(aspect - 1) > _SQUARE and 1 / _LONGEST <= aspect <= _LONGEST:
            width, height = max(width, round(width * aspect)), max(height, round(height / aspect))
        return width, height

    def _rgb(self, frame: av.VideoFrame) -> av.VideoFrame:
        width, height = self._size
        form = {"width": width, "height": height, "format": "rgb24"}
        wide = frame.color_trc in _HDR_CURVES or frame.color_primaries == ColorPrimaries.BT2020
        if frame.colorspace == _UNSAID and not frame.format.is_rgb:
            # FFmpeg would read all of them as BT.601, which is for small pictures alone.
            if wide:
                form["src_colorspace"] = Colorspace.BT2020
            elif frame.width >= 1280 or frame.height > 576:
                form["src_colorspace"] = Colorspace.ITU709
        if wide and HDR_AS_IS not in self.problems:
            target = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
            try:
                shown = _of_hdr().reformat(frame, **form, **target)
            except av.FFmpegError:
                self.problems = [HDR_AS_IS]
            else:
                self.problems = [HDR]
                return shown
        # One thread: clips are prepared side by side, and starting others costs a seventh.
        return self._reformatter.reformat(frame, threads=1, **form)


_state = threading.local()


def _of_hdr() -> VideoReformatter:
    """One for all videos of a thread: it takes seconds to work out the table of their colours."""
    if not hasattr(_state, "of_hdr"):
        _state.of_hdr = VideoReformatter()
    return _state.of_hdr


def _turned(rgb: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Applies the display matrix: (x, y) goes to (a x + c y, b x + d y), in quarter turns."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return rgb
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]
    if abs(a) >= abs(b):
        flip_x, flip_y = a < 0, d < 0
    else:
        rgb = rgb.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    return np.ascontiguousarray(rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
