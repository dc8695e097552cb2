import importlib.util
import socket
import sys

import pytest

from mmadfer_jax import serve


def _refused(monkeypatch, *flags: str) -> str:
    monkeypatch.setattr(sys, "argv", ["serve", "--checkpoint=no_model", *flags])
    with pytest.raises(SystemExit) as ended:
        serve.main()
    return str(ended.value)


def test_what_is_lacking_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "`pip install -r requirements-app.txt`" in _refused(monkeypatch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert "must be above 0" in _refused(monkeypatch, "--max_seconds=0")
    assert "expected 0 to 65535" in _refused(monkeypatch, "--port=99999")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1, port {port}" in _refused(monkeypatch, f"--port={port}")
    assert "no_model" in _refused(monkeypatch, "--port=0")


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_only_this_machine(host, local):
    assert serve._is_local(host) == local
