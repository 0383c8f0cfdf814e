"Write sql/schema.json from a fresh database; with --check, only say whether it is current."

import json
import sys
from pathlib import Path

from catalyst.schema import live_schema, scratch_store

dest = Path(__file__).resolve().parents[1] / "sql" / "schema.json"


def manifest():
    with scratch_store() as store:
        have = live_schema(store)
    del have["words"]  # their home is catalyst.core
    return json.dumps(have, indent=0) + "\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        dest.write_text(
            '{"columns": [], "functions": [], "triggers": []}'
        )  # or the start check would refuse
    text = manifest()
    if "--check" in sys.argv:
        sys.exit(
            0
            if dest.exists() and dest.read_text("utf-8") == text
            else "stale: python tools/schema.py"
        )
    dest.write_text(text, "utf-8")
