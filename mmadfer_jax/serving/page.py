"""The page, made with Gradio: a clip on the left, settings on the right, the report below."""

import logging
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from mmadfer_jax import pages
from mmadfer_jax.errors import UserError
from mmadfer_jax.serving.answering import ALL_FILES, Answering
from mmadfer_jax.timelines import honest, report
from mmadfer_jax.trained import TrainedModel

_WAITING = 20  # clips in the queue; more are refused
_SWEEP, _OLDEST = 60, 3600  # seconds: how often uploads are looked at, and how old they get
# The report says how high it is, and the frame follows it.
_FOLLOW = (
    "const d = this.contentDocument.documentElement; "
    "new ResizeObserver(() => { this.style.height = d.scrollHeight + 'px'; }).observe(d);"
)
STYLE = """
.gradio-container { max-width: 1240px !important; }
.report { width: 100%; height: 900px; border: 0; border-radius: 10px; display: block; }
.refusal { padding: 12px 16px; border-left: 4px solid #b26a00; border-radius: 6px;
  background: var(--background-fill-secondary); overflow-wrap: anywhere; }
"""
_PROGRESS = gr.Progress()
_CAMERA = {"video": {"width": {"ideal": 1280}, "height": {"ideal": 720}}}
_PEOPLE = {"all people": "all", "the largest face": "largest"}
_WINDOW, _HOP = (1, 10), (0.25, 2)  # seconds
# Fonts of the machine, since others would be asked of a server elsewhere.
_FONTS = ["system-ui", "sans-serif"]


def _for_uploads_alone(clip: gr.Video) -> gr.Video:
    """Takes what was sent to this page, and nothing else.

    Gradio trusts the path in a request where it is mounted into an application, and fetches what is
    there if it is a URL. (A class of our own would make Gradio write a file beside this one.)
    """
    move, preprocess = clip.async_move_resource_to_block_cache, clip.preprocess

    async def move_sent(path: str | Path | None):
        _check_sent(path)
        return await move(path)

    def preprocess_sent(payload: FileData | None) -> str | None:
        if payload is not None:  # what says that it is a stream is not moved
            _check_sent(payload.path)
        return preprocess(payload)

    clip.async_move_resource_to_block_cache, clip.preprocess = move_sent, preprocess_sent
    return clip


def _check_sent(path: str | Path | None) -> None:
    if not Path(str(path)).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise gr.Error("this clip was not sent to this page")


def theme() -> gr.themes.Base:
    """Without fonts from elsewhere."""
    return gr.themes.Default(font=_FONTS, font_mono=["ui-monospace", "monospace"])


def make_page(model: TrainedModel, answering: Answering, limits: str, at: str) -> gr.Blocks:
    """The page.

    Args:
        model: Who answers.
        answering: Who makes the files.
        limits: What clips may be, in words.
        at: Address under which folders of results are served.
    """

    def answer(
        clip: str | None, people: str, window: float, hop: float, progress: gr.Progress = _PROGRESS
    ) -> tuple[None, str]:
        if clip is None:
            return None, _refusal("no clip yet; choose or record one")
        settings = {
            "person": _PEOPLE[people],
            "window": float(np.clip(window, *_WINDOW)),
            "hop": float(np.clip(hop, *_HOP)),
        }
        try:
            folder = answering.answer(Path(clip), progress, **settings)
        except UserError as error:
            return None, _refusal(str(error))
        except Exception:
            logging.getLogger(__name__).exception("a clip could not be answered for")
            return None, _refusal("something went wrong; the one who runs this page can see what")
        return None, _result(f"{at}/{folder.name}")

    with gr.Blocks(
        title="mmadfer_jax", analytics_enabled=False, delete_cache=(_SWEEP, _OLDEST)
    ) as page:
        gr.Markdown("# What a face and voice show, second by second")
        gr.HTML(_words(model))
        with gr.Row():
            clip = _for_uploads_alone(
                gr.Video(
                    sources=["upload", "webcam"],
                    label="A clip: choose or record one",
                    webcam_options=gr.WebcamOptions(constraints=_CAMERA),
                    height=360,
                    buttons=[],
                    scale=3,
                )
            )
            with gr.Column(scale=2):
                people = gr.Radio(list(_PEOPLE), value="all people", label="Answer for")
                window = gr.Slider(*_WINDOW, 2, step=0.5, label="Length of a window, seconds")
                hop = gr.Slider(*_HOP, 0.5, step=0.25, label="From window to window, seconds")
                button = gr.Button("Answer", variant="primary")
                gr.Markdown(limits)
        result = gr.HTML(elem_id="result")
        clip.upload(
            lambda path: answering.claim(Path(path)), clip, queue=False, api_visibility="private"
        )
        button.click(
            answer,
            [clip, people, window, hop],
            [clip, result],
            show_progress_on=result,
            concurrency_limit=1,
            api_visibility="private",
        )
    page.queue(max_size=_WAITING, api_open=False)
    return page


def _words(model: TrainedModel) -> str:
    words = [honest.MEANING, honest.data_sentence(model.card.data), honest.GROUPS]
    first, *others = map(pages.prose, words)
    return f"<p><b>{first}</b></p><p>{' '.join(others)}</p>"


def _refusal(text: str) -> str:
    return f'<div class="refusal" role="alert">{escape(text)}</div>'


def _result(at: str) -> str:
    return (
        f'<p><a href="{at}/{ALL_FILES}" download>Download all files</a> &nbsp; '
        f'<a href="{at}/{report.NAME}" target="_blank">Open the report alone</a></p>'
        f'<iframe class="report" title="report" src="{at}/{report.NAME}" onload="{_FOLLOW}">'
        "</iframe>"
    )
