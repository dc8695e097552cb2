"""The web application: the page, and the files that belong to what it shows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import gradio as gr
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from mmadfer_jax.serving import page
from mmadfer_jax.serving.answering import Answering
from mmadfer_jax.serving.limits import Limits
from mmadfer_jax.serving.results import Results
from mmadfer_jax.trained import TrainedModel

_AT = "/results"
_SWEEP = 30  # seconds
_SHOWN = (".html", ".mp4", ".jpg")  # in the page; all other files are downloads
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def make_app(
    model: TrainedModel, results: Results, limits: Limits, hosts: list[str] | None
) -> FastAPI:
    """The application.

    Args:
        model: Who answers.
        results: Where the answers go.
        limits: Of clips.
        hosts: Names under which it may be asked; None for any.
    """

    @contextlib.asynccontextmanager
    async def sweeping(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(results))
        yield
        task.cancel()

    app = FastAPI(lifespan=sweeping, openapi_url=None)
    if hosts is not None:  # so that no other site can lead a browser here under its own name
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.get(f"{_AT}/{{token}}/{{name:path}}")
    def result(token: str, name: str) -> FileResponse:
        path = results.find(token, name)
        if path is None:
            raise HTTPException(404, "no such file, or no longer")
        kind = "inline" if path.suffix in _SHOWN else "attachment"
        return FileResponse(
            path, filename=path.name, content_disposition_type=kind, headers=_HEADERS
        )

    answering = Answering(model, results, limits)
    blocks = page.make_page(model, answering, _limits(limits), _AT)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=int(limits.megabytes * 1e6),
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=page.theme(),
        css=page.STYLE,
    )


async def _sweep(results: Results) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        await asyncio.to_thread(results.sweep)


def _limits(limits: Limits) -> str:
    return (
        f"At most {limits.megabytes:g} MB and {limits.seconds:g} s. Clips are deleted as soon as "
        "they are answered for, the answers after a while. Clips wait for each other."
    )
