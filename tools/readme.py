"Write README.md from nbs/index.ipynb; with --check, only say whether it is current."

import sys
from pathlib import Path

from fastcore.nbio import read_nb

HEAD = "<!-- Written by tools/readme.py from nbs/index.ipynb: edit the notebook. -->\n\n"


def shown(out):
    "Markdown for one stored output"
    if out["output_type"] == "stream":
        return f"