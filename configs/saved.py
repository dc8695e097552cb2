"""Settings that were written down as JSON, as each run of a study has them.

python main.py --config=configs/saved.py:RUN/settings.json --workdir=RUN
"""

import json
from pathlib import Path

from ml_collections import ConfigDict


def get_config(path: str) -> ConfigDict:
    """The settings in a file."""
    return ConfigDict(json.loads(Path(path).read_text()))
