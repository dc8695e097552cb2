"""One sound track of a media file -> samples at one rate, in step with the pictures."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from mmadfer_jax.clips import container as containers
from mmadfer_jax.errors import UserError

LATE = "sound starts after the pictures"
EARLY = "sound starts before the pictures"
GAPS = "gaps in the sound"
CHANGES = "sound changes its rate or channels"
BROKEN = "broken sound"
SILENT = "silent sound"
ONE_SIDED = "one-sided sound"
CLIPPED = "clipped sound"

# What sound and pictures may be apart. The start of AAC and the delay of B-frames, which many
# containers leave unsaid, come to some 80 ms, and no one sees so little on lips.
_IN_STEP = 0.1  # seconds
_ROUNDING = 0.005  # seconds, of the times in a container
_JUMP = 10.0  # seconds, from which on times in a stream start anew, where they may
_QUIET = 2  # steps of 16 bits
_FULL = 32767
_CLIPPED = 0.001  # share of the samples


class SoundTrack:
    """Decodes a sound track.

    Attributes:
        rate: Hz, of the first sound there is; 0 before.
        problems: What a user should know, complete after the last piece.
    """

    def __init__(
        self,
        path: str | Path,
        container: av.container.InputContainer,
        stream: av.audio.stream.AudioStream,
    ):
        self._path, self._container, self._stream = path, container, stream
        self.rate = 0
        self.problems = containers.which(stream, container.streams.audio, containers.SEVERAL_SOUNDS)
        self._pictures_start = containers.pictures_start(container)
        self._after_loss = False  # the time of the next frame tells how much is lacking
        self._start: float | None = None  # when sample 0 is heard
        self._place = 0  # of the next sample; those below 0 are from before the pictures
        self._gaps: list[float] = []

    def pieces(self) -> Iterator[np.ndarray]:
        """The sound, int16 [channels, n] each, of one number of channels."""
        resampler, form, first, levels = None, None, None, _Levels()
        for frame in self._frames():
            found = frame.format.name, frame.layout.name, frame.sample_rate
            if form is None:
                self.rate, first = frame.sample_rate, len(frame.layout.channels)
            if found != form:
                if resampler:
                    yield from self._placed(resampler.resample(None), first, levels)
                    self._note_change(form, found)
                form, resampler = found, av.AudioResampler(format="s16p", rate=self.rate)
            yield from self._silence(frame.time, first)
            yield from self._placed(resampler.resample(frame), first, levels)
        if form and form[2] != self.rate:  # only a change of rate holds something back
            yield from self._placed(resampler.resample(None), first, levels)
        if self._gaps:
            total = sum(self._gaps)
            self.problems.append(f"{GAPS}: {len(self._gaps)}, {total:.2f} s of silence put in")
        self.problems += levels.problems()

    def _frames(self) -> Iterator[av.AudioFrame]:
        good, lost, said = 0, 0, ""
        for packet in containers.packets(self._container, self._stream):
            try:
                frames = packet.decode() if packet else []
            except av.FFmpegError as error:
                frames, packet, said = [], None, f" ({error.strerror})"
            if packet is None:
                lost += 1
                self._after_loss = True
                continue
            good += packet.size > 0
            yield from frames
        if lost > good:
            raise UserError(
                f"{self._path}: broken sound, {lost} of {good + lost} packets cannot be decoded"
                f"{said}"
            )
        if lost:
            self.problems.append(
                f"{BROKEN}: {lost} of {good + lost} packets, silence stands in their place"
            )

    def _note_change(self, before: tuple, after: tuple) -> None:
        if before[1:] != after[1:] and not any(p.startswith(CHANGES) for p in self.problems):
            (_, layout, rate), (_, new_layout, new_rate) = before, after
            self.problems.append(
                f"{CHANGES}: from {rate} Hz {layout} to {new_rate} Hz {new_layout}, all brought "
                "to the first"
            )

    def _silence(self, time: float | None, channels: int) -> Iterator[np.ndarray]:
        """What is lacking before a frame that is heard at a time."""
        lacking = 0.0 if time is None else self._lacking(time)
        self._after_loss = False
        count = round(lacking * self.rate)
        early, self._place = self._place, self._place + count
        count += min(0, early)
        while count > 0:
            piece = min(count, self.rate)  # in seconds, so that memory does not grow with a gap
            yield np.zeros((channels, piece), np.int16)
            count -= piece

    def _lacking(self, time: float) -> float:
        near = _ROUNDING if self._after_loss else _IN_STEP
        if self._start is None:
            return self._first(time, near)
        lacking = time - (self._start + self._place / self.rate)
        anew = self._container.format.flags & _TIMES_MAY_JUMP and lacking > _JUMP
        if lacking < -_IN_STEP or anew:
            self._start += lacking  # nothing is taken away: it goes on where it was
        elif lacking > near:
            if not self._after_loss:
                self._gaps.append(lacking)
            return lacking
        return 0.0

    def _first(self, time: float, near: float) -> float:
        start = self._pictures_start
        apart = 0.0 if start is None else time - start
        length = (self._container.duration or 0) / av.time_base
        if -_IN_STEP <= apart <= near or (length and abs(apart) >= length):
            self._start = time
            return 0.0
        self._start = start
        if apart < 0:
            self.problems.append(f"{EARLY}: its first {-apart:.2f} s are left out")
            self._place = round(apart * self.rate)
            return 0.0
        if not self._after_loss:
            self.problems.append(f"{LATE}: {apart:.2f} s of silence put in")
        return apart

    def _placed(self, frames: list, channels: int, levels: "_Levels") -> Iterator[np.ndarray]:
        """What is heard with the pictures, with the first number of channels."""
        for frame in frames:
            samples = frame.to_ndarray()
            early, self._place = self._place, self._place + samples.shape[1]
            if early < 0:
                samples = samples[:, -early:]
            if len(samples) != channels:
                # Channel 0, of which the log-mel is made, stays itself; mono is in all of them.
                samples = samples[np.minimum(np.arange(channels), len(samples) - 1)]
            if samples.size:
                levels.add(samples)
                yield samples


_TIMES_MAY_JUMP = av.format.Flags.ts_discont.value


class _Levels:
    """How loud the channels of a sound are."""

    def __init__(self):
        self._low = self._high = None  # int16 [channels]
        self._full = self._count = 0

    def add(self, samples: np.ndarray) -> None:
        low, high = samples.min(axis=1), samples.max(axis=1)
        if self._low is None:
            self._low, self._high = low, high
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self._count += samples.size
        if high.max() >= _FULL or low.min() <= -_FULL:
            self._full += int(np.count_nonzero((samples >= _FULL) | (samples <= -_FULL)))

    def problems(self) -> list[str]:
        if self._low is None:
            return []
        silent = self._high.astype(int) - self._low <= _QUIET
        if silent.all():
            return [SILENT]
        problems = []
        # Rear and bass channels are often silent, and no log-mel is made of them.
        if silent[0] or (len(silent) == 2 and silent[1]):
            number = int(silent.argmax()) + 1
            what = ", the one of which the log-mel is made," if number == 1 else ""
            problems.append(f"{ONE_SIDED}: channel {number} of {len(silent)}{what} is silent")
        share = self._full / self._count
        if share > _CLIPPED:
            problems.append(f"{CLIPPED}: {share:.1%} of the samples at full scale")
        return problems
