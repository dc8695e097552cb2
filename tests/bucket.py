"""A bucket of Google Cloud Storage on this machine."""

import contextlib
import http
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from unittest import mock

from tests.killing import ROOT, free_port


@contextlib.contextmanager
def bucket(name: str) -> Iterator[str]:
    """Serves an empty bucket, and lets gcsfs and TensorStore find it; gives its URL."""
    port = free_port()
    address = f"http://localhost:{port}"
    names = {
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_GCS_HTTP_URL": address,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
    }
    command = [sys.executable, "-m", "tests.bucket", str(port), name]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, **quiet) as server, mock.patch.dict(os.environ, names):
        try:
            _wait(f"{address}/storage/v1/b/{name}")
            yield f"gs://{name}"
        finally:
            server.kill()


def _wait(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url).close()
            return
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def serve(port: int, name: str) -> None:
    """Serves a bucket, until it is killed."""
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    # TensorStore relies on these, the emulator leaves them out: the number of a file's version, and
    # requests that hold for one version alone.
    def conditional(handle):
        def wrapped(request, response, storage, *arguments, **options):
            name = request.params.get("object_id") or request.query.get("name", [""])[0]
            try:
                found = storage.get_file_obj(request.params["bucket_name"], name)["generation"]
            except NotFound:
                found = "0"
            else:
                response["x-goog-generation"] = found
            if request.query.get("ifGenerationMatch", [found])[0] != found:
                response.status = http.HTTPStatus.PRECONDITION_FAILED
            elif request.query.get("ifGenerationNotMatch", [None])[0] == found:
                response.status = http.HTTPStatus.NOT_MODIFIED
            else:
                handle(request, response, storage, *arguments, **options)

        return wrapped

    for name_of_handler in ("get", "download", "insert"):
        handler = getattr(objects, name_of_handler)
        setattr(objects, name_of_handler, conditional(handler))
    from gcp_storage_emulator.server import create_server

    create_server("localhost", port, in_memory=True, default_bucket=name).run()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
