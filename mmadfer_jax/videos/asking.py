"""Questions to a model, answered in batches while the next ones are made."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

# Frames uint8 [B, T, S, S, 3] and spectrogram float32 [B, L, 128] to probabilities [B, K].
Ask = Callable[[np.ndarray, np.ndarray], np.ndarray]
_IN_FLIGHT = 2  # batches; more would only fill the memory


class Asking:
    """Asks a model in a thread of its own. To be used in a `with` statement.

    Args:
        model: See `Ask`.
        batch: Questions asked at once, B. The last are filled up, so that one program serves.
        watching: Called with the frames and spectrograms of every batch before it is asked, in the
            order of the questions and not filled up.
    """

    def __init__(
        self,
        model: Ask,
        batch: int,
        watching: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ):
        self._model, self._batch = model, batch
        self._watching = watching or (lambda frames, sounds: None)
        self._frames: list[np.ndarray] = []
        self._sounds: list[np.ndarray] = []
        self._asked: deque[Future] = deque()
        self._answers: list[np.ndarray] = []

    def __enter__(self) -> "Asking":
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        return self

    def __exit__(self, *error) -> None:
        self._thread.shutdown(cancel_futures=True)

    def ask(self, frames: np.ndarray, sound: np.ndarray) -> None:
        """Takes a question: uint8 [T, S, S, 3] and float32 [L, 128]."""
        self._frames.append(frames)
        self._sounds.append(sound)
        if len(self._frames) == self._batch:
            self._send()

    def answers(self) -> np.ndarray:
        """Waits for all; the probabilities [n, K] in the order of the questions."""
        if self._frames:
            self._send()
        while self._asked:
            self._answers.append(self._asked.popleft().result())
        return np.concatenate(self._answers) if self._answers else np.zeros((0, 0), np.float32)

    def _send(self) -> None:
        while len(self._asked) >= _IN_FLIGHT:
            self._answers.append(self._asked.popleft().result())
        frames, sounds = np.stack(self._frames), np.stack(self._sounds)
        self._frames, self._sounds = [], []
        self._watching(frames, sounds)
        self._asked.append(self._thread.submit(self._answer, frames, sounds))

    def _answer(self, frames: np.ndarray, sounds: np.ndarray) -> np.ndarray:
        lacking = [(0, self._batch - len(frames))]
        filled = (np.pad(x, lacking + [(0, 0)] * (x.ndim - 1)) for x in (frames, sounds))
        return self._model(*filled)[: len(frames)]
