"Write README.md from nbs/index.ipynb; with --check, only say whether it is current."

import sys
from pathlib import Path

from fastcore.nbio import read_nb

HEAD = "<!-- Written by tools/readme.py from nbs/index.ipynb: edit the notebook. -->\n\n"
FENCE = "`" * 3


def fenced(text, language=""):
    return f"{FENCE}{language}\n{text.rstrip()}\n{FENCE}"


def shown(out):
    "Markdown for one stored output"
    if out["output_type"] == "stream":
        return fenced(out["text"])
    data = out.get("data", {})
    if "text/markdown" in data:
        return data["text/markdown"].strip()
    return fenced(data["text/plain"]) if "text/plain" in data else ""


def blocks(cell):
    "Markdown blocks of one cell"
    if {"hide", "default_exp"} & set(cell.directives):
        return []
    cell.remove_directives()
    src = cell.source.strip()
    if cell.cell_type == "markdown":
        return [src]
    if cell.cell_type != "code" or not src:
        return []
    return [fenced(src, "python"), *filter(None, map(shown, cell.outputs))]


def readme(root):
    cells = read_nb(root / "nbs/index.ipynb").cells
    return HEAD + "\n\n".join(b for c in cells for b in blocks(c)) + "\n"


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    dest, text = root / "README.md", readme(root)
    if "--check" in sys.argv:
        current = dest.exists() and dest.read_text("utf-8") == text
        sys.exit(0 if current else "stale: python tools/readme.py")
    dest.write_text(text, "utf-8")
