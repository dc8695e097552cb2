"""A web server of files for tests, with byte ranges, listings and faults on demand."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; `server.refuse` requests get 503 first, and then each `server.every`th."""

    protocol_version = "HTTP/1.1"

    def is_refused(self) -> bool:
        """Whether this request is to fail."""
        with self.server.lock:
            refused = self.server.refuse > 0
            self.server.refuse -= refused
        return refused

    def do_HEAD(self):
        """Tells of a file."""
        if self.is_refused():
            self.send_error(503)
        else:
            super().do_HEAD()

    def do_GET(self):
        """A file, a part of one, or a listing."""
        refused = self.is_refused()
        with self.server.lock:
            self.server.requests.append((self.path, self.headers.get("Range")))
            if self.server.every:
                refused |= len(self.server.requests) % self.server.every == 0
        path = Path(self.translate_path(self.path))
        if refused:
            self.send_error(503)
        elif (part := self.headers.get("Range")) and path.is_file() and self.server.ranges:
            data = path.read_bytes()
            first, last = part.removeprefix("bytes=").split("-")
            chunk = data[int(first) : int(last or len(data)) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.send_header("Content-Length", str(len(chunk)))
            self.end_headers()
            self.wfile.write(chunk)
        else:
            super().do_GET()

    def log_message(self, *arguments):
        """Says nothing."""


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *arguments):
        """Says nothing where a client hangs up."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    """Serves a folder at `server.url`."""

    def handler(*arguments):
        return Handler(*arguments, directory=str(folder))

    with _Server(("127.0.0.1", 0), handler) as server:
        server.lock, server.refuse, server.requests = threading.Lock(), 0, []
        server.every, server.ranges, server.daemon_threads = 0, True, True
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
