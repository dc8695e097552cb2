"""What a timeline costs: faces, sound, model, and the memory of an hour.

    python benchmarks/timeline.py --out=benchmarks/results/timeline.json [CLIP]

A clip is repeated without decoding it until it has 472 frames, of 640 x 360 pixels in the clip of
the public comparison of such tools; without one, a rendered face is. For each part the processor
time of all threads is given beside the time that passed, because other work may share the machine.
"faces" decodes, looks for faces, follows them and cuts them out; "model" is one question to a model
of the paper's size with random weights, at several sizes of batch, and the peak of the memory of a
short timeline with it. "hour" repeats the clip for an hour and for a tenth of one, in processes of
their own that look for faces once a second, and gives the peak of their memory, without a model.

`--only=model` measures one of the three, and leaves the others in the file as they are.
"""

import argparse
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av
import numpy as np
from people import timeline_of
from scenes import Actor, Scene, still, write

from mmadfer_jax.clips import media
from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.trained import load_model
from mmadfer_jax.videos.identity import recogniser

FRAMES = 472
EVERY = (1, 3, 6, 12)
BATCHES = (1, 2, 4)


def repeated(clip: Path, path: Path, frames: int) -> Path:
    """Writes a clip again and again, without decoding it, until there are so many frames."""
    with av.open(str(clip)) as given, av.open(str(path), "w") as made:
        streams = [given.streams.video[0], *given.streams.audio[:1]]
        outs = [made.add_stream_from_template(stream) for stream in streams]
        parts = [
            (streams.index(p.stream), bytes(p), p.pts, p.dts, p.duration, p.is_keyframe)
            for p in given.demux(streams)
            if p.size
        ]
        length = max((pts + long) * streams[i].time_base for i, _, pts, _, long, _ in parts)
        count = turn = 0
        while count < frames:
            for i, data, pts, dts, long, key in parts:
                count += i == 0
                if i == 0 and count > frames:
                    break
                later = math.ceil(turn * length / streams[i].time_base)
                packet = av.Packet(data)
                packet.stream, packet.time_base = outs[i], streams[i].time_base
                packet.pts, packet.dts, packet.duration = pts + later, dts + later, long
                packet.is_keyframe = key
                made.mux(packet)
            turn += 1
    return path


def timed(function: Callable[[], Any], frames: int) -> dict[str, float]:
    """Seconds that passed and of the processor, and frames in each of both."""
    start, used = time.perf_counter(), time.process_time()
    function()
    passed, used = time.perf_counter() - start, time.process_time() - used
    return {
        "seconds": round(passed, 2),
        "processor_seconds": round(used, 2),
        "frames_per_second": round(frames / passed, 1),
        "frames_per_processor_second": round(frames / used, 1),
    }


def parts(video: Path, frames: int) -> dict[str, Any]:
    """What each part costs, without a model."""
    known = recogniser(None)
    found = {
        "decoding": lambda: sum(1 for _ in media.read_video(video)),
        "sound alone": lambda: timeline_of(video, picture=False),
    }
    for every in EVERY:
        found[f"faces, every {every}"] = lambda every=every: timeline_of(
            video, known, sound=False, detect_every=every
        )
    found["faces, every 6, of 20 pixels and more"] = lambda: timeline_of(
        video, known, sound=False, detect_every=6, min_face=20
    )
    found["faces and sound, as usual"] = lambda: timeline_of(video, known)
    timeline_of(video, known)  # what is loaded once
    return {name: timed(function, frames) for name, function in found.items()}


def write_model(path: Path) -> None:
    """A model of the paper's size with random weights, in a file."""
    import jax

    from mmadfer_jax.card import ModelCard
    from mmadfer_jax.clips.clip import PrepareSettings
    from mmadfer_jax.models.config import ModelConfig
    from mmadfer_jax.models.params import init_params
    from mmadfer_jax.weights.model_files import save_model

    config = ModelConfig()
    classes = tuple(f"class {number}" for number in range(config.num_classes))
    card = ModelCard(config, classes, preparation=PrepareSettings().to_dict())
    params = {path: np.asarray(x) for path, x in jax.device_get(init_params(config, 0)).items()}
    save_model(path, params, card, layout="own")


def questions(file: Path) -> dict[str, Any]:
    """Seconds of one question for several sizes of batch, when the program is there."""
    model, found = load_model(file), {}
    for batch in BATCHES:
        frames = np.zeros((batch, 16, 224, 224, 3), np.uint8)
        sounds = np.zeros((batch, 512, 128), np.float32)
        model.logits(frames, sounds)
        start, used = time.perf_counter(), time.process_time()
        model.logits(frames, sounds)
        found[str(batch)] = {
            "seconds": round((time.perf_counter() - start) / batch, 2),
            "processor_seconds": round((time.process_time() - used) / batch, 2),
        }
    return found


def memory_of(video: Path, file: Path | None = None) -> dict[str, Any]:
    """A timeline in this process, which should be a fresh one, with a model or without."""
    start, used = time.perf_counter(), time.process_time()
    if file:
        found = load_model(file).timeline(video, hop=2.0)
    else:
        found = timeline_of(video, recogniser(None), detect_every=30)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds_of_video": round(found.duration, 1),
        "frames": found.num_frames,
        "windows": len(found.windows.start),
        "rows_of_faces": len(found.faces.frame),
        "peak_gigabytes": round(peak / 1e9, 3),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - used, 1),
    }


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=("parts", "model", "hour"))
    flags = parser.parse_args()
    result: dict[str, Any] = {}
    if flags.out and flags.out.exists():
        result = json.loads(flags.out.read_text())
    result |= stamp("jax", "onnxruntime", "av")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = flags.clip or write(folder / "clip.mp4", [Scene(4, (Actor(3, still(320)),))])
        with av.open(str(clip)) as opened:
            stream = opened.streams.video[0]
            rate, size = float(stream.average_rate), [stream.width, stream.height]
        video = repeated(clip, folder / "video.mp4", FRAMES)
        result |= {"clip": clip.name, "size": size, "frames": FRAMES, "frame_rate": rate}
        if flags.only in (None, "parts"):
            result["parts"] = parts(video, FRAMES)
            _say(result["parts"])
        fresh = multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1)
        if flags.only in (None, "model"):
            file = folder / "model.safetensors"
            fresh.apply(write_model, (file,))
            result["model"] = fresh.apply(questions, (file,))
            result["memory with the model"] = fresh.apply(memory_of, (video, file))
            _say({name: result[name] for name in ("model", "memory with the model")})
        if flags.only in (None, "hour"):
            result["hour"] = []
            for seconds in (360, 3600):
                long = repeated(clip, folder / "long.mp4", round(seconds * rate))
                result["hour"].append(fresh.apply(memory_of, (long,)))
                _say(result["hour"][-1])
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=1) + "\n")


def _say(values: Any) -> None:
    print(json.dumps(values, indent=1), f"load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
