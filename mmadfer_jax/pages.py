"""Pages of one HTML file, for a desk and for a telephone: what all of them share."""

import base64
import hashlib
import re
from html import escape

# Colours by the reader's choice of light or dark, and the parts that all pages have.
_STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --text: #1c2430; --soft: #5d6878; --line: #dfe3e9;
  --fault: #c62f2f; --warning: #b26a00; --good: #1c7f4b; --note: #4a6fa5; --bar: #d6e2f3; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161c; --card: #1b212a; --text: #e6e9ee; --soft: #9aa5b4; --line: #303946;
  --fault: #ff7b72; --warning: #e3a33b; --good: #56c98a; --note: #86aee8; --bar: #2a3b55; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 12px; }
h3 { font-size: 1rem; margin: 22px 0 10px; }
p { margin: 4px 0 0; }
.soft { color: var(--soft); }
.card, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px;
  margin-top: 22px; }
.tile { padding: 12px 16px; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .85rem; color: var(--soft); }
tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--card); }
.plain td, .plain th { text-align: left; }
.plain td { white-space: normal; overflow-wrap: anywhere; }
@media (max-width: 600px) { main { padding: 18px 12px 40px; } h1 { font-size: 1.35rem; }
  th, td { padding: 5px 8px; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 8px; } .tile b { font-size: 1.25rem; } }
"""


def page(title: str, body: str, style: str = "", script: str = "") -> str:
    """A page; its browser runs no other script and asks no other place for anything.

    Args:
        title: As text; all else as HTML, CSS and JavaScript.
        body: What is in `main`.
        style: Beside what all pages have.
        script: Run at the end.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "'self' file: data:",
        "media-src": "'self' file:",
        "script-src": f"'sha256-{digest}'" if script else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    policy = "; ".join(f"{what} {where}" for what, where in allowed.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head>"
        f"<body><main>{body}</main>{f'<script>{script}</script>' * bool(script)}</body></html>\n"
    )


def tiles(pairs: list[tuple[str, str]]) -> str:
    """Figures with what they are, both as text."""
    shown = (
        f'<div class="tile"><b>{escape(figure)}</b><span class="soft">{escape(what)}</span></div>'
        for figure, what in pairs
    )
    return f'<div class="tiles">{"".join(shown)}</div>'


def prose(text: str) -> str:
    """Text as HTML; what stands between backticks is code."""
    parts = re.split("`([^`]*)`", escape(text))
    return "".join(f"<code>{part}</code>" if k % 2 else part for k, part in enumerate(parts))


def settings_table(settings: dict) -> str:
    """Settings with their values, a line each."""
    rows = "".join(
        f"<tr><th>{escape(str(key))}</th><td>{escape(_text(value))}</td></tr>"
        for key, value in settings.items()
    )
    return f'<div class="card scroll"><table class="plain">{rows}</table></div>'


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)
