"A module imports only modules whose notebook has a smaller number; foreign packages have a home; walls stand."

import ast
import re
from pathlib import Path

import pytest

ROOT, PKG = Path(__file__).parents[1], "catalyst"
HOME = {  # foreign package -> the modules that may import it
    "sqlalchemy": {"store"},
    "psycopg": {"store"},
    "alpaca": {"alpaca_api", "alpaca_news", "alpaca_streams"},
    "vectorbt": {"backtest"},
    "sklearn": {"alike", "validate", "calibration", "models"},
    "talib": {"indicators", "patterns", "turns", "candles"},
    "numba": {"fills", "backtest"},
    "dask": {"sweep"},
    "distributed": {"sweep"},
    "joblib": {"sweep", "discover"},
    "papermill": {"run"},
    "exchange_calendars": {"clock"},
    "feedparser": {"rss"},
    "scipy": {"stories", "nulls", "evidence"},
    "transformers": {"finbert"},
    "torch": {"finbert"},
    "requests": {"fetch", "alpaca_api"},
    "urllib3": {"fetch", "alpaca_api"},
}
FILES = {f.stem: f for f in (ROOT / PKG).glob("*.py")}
NUMBER = {
    stem: int(m[1])
    for stem, f in FILES.items()
    if (m := re.search(r"File to edit: \S*?(\d+)_\w+\.ipynb", f.read_text("utf-8")))
}
# Reading the machine's time; `catalyst.clock` alone may.
CLOCKS = {
    "now",
    "utcnow",
    "today",
    "time",
    "time_ns",
    "perf_counter",
    "monotonic",
    "localtime",
    "gmtime",
}
CLOCK_OWNERS = {"datetime", "date", "time", "Timestamp", "dt"}


def imports(f):
    "Our modules and foreign packages that file `f` imports, at the top or inside a function"
    ours, theirs = set(), set()
    for node in ast.walk(ast.parse(f.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level or name.split(".")[0] == PKG:
                ours.add(name.removeprefix(f"{PKG}.").split(".")[0])
            else:
                theirs.add(name.split(".")[0])
        elif isinstance(node, ast.Import):
            for a in node.names:
                top, _, rest = a.name.partition(".")
                ours.add(rest.split(".")[0]) if top == PKG else theirs.add(top)
    return ours, theirs


@pytest.mark.parametrize("name", sorted(NUMBER))
def test_imports_point_down(name):
    ours, theirs = imports(FILES[name])
    assert not {o for o in ours if NUMBER.get(o, -1) >= NUMBER[name]}
    assert not {t for t in theirs if name not in HOME.get(t, {name})}


SAFETY = {
    "ledger",
    "proposals",
    "limits",
    "sizing",
    "account",
    "states",
    "results",
}  # Rooms of floor 6 below risk: 58 and 59


@pytest.mark.parametrize(
    "name", sorted(n for n, i in NUMBER.items() if 30 <= i < 60 and n not in SAFETY)
)
def test_analysis_sees_frames_only(name):
    "Floors 3 to 5 import no port and no store"
    ours, _ = imports(FILES[name])
    assert not {o for o in ours if NUMBER.get(o, 99) in range(10, 20)} | (
        ours & {"store", "dims", "bars", "news"}
    )


@pytest.mark.parametrize("name", sorted(set(NUMBER) - {"clock"}))
def test_only_clock_reads_the_time(name):
    tree = ast.parse(FILES[name].read_text("utf-8"))
    calls = [
        n.func
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
    ]
    read = [
        f"{f.value.id}.{f.attr}"
        for f in calls
        if f.attr in CLOCKS and isinstance(f.value, ast.Name) and f.value.id in CLOCK_OWNERS
    ]
    assert not read
    assert "time" not in imports(FILES[name])[1], "import time only in clock"


def test_only_trade_sends_orders():
    "guard: one path to a broker's sending calls"
    senders = {}
    for name, f in FILES.items():
        for n in ast.walk(ast.parse(f.read_text("utf-8"))):
            if (
                isinstance(n, ast.Call)
                and isinstance(n.func, ast.Attribute)
                and n.func.attr in {"submit", "cancel", "replace_order"}
            ):
                owner = ast.unparse(n.func.value)
                if "broker" in owner.lower():
                    senders.setdefault(name, []).append(owner)
    assert set(senders) <= {"trade"}, senders


def test_only_run_starts_a_notebook():
    assert {n for n, f in FILES.items() if "papermill" in imports(f)[1]} <= {"run"}


def test_every_module_has_a_notebook():
    assert set(FILES) - set(NUMBER) == {"__init__", "__main__", "_modidx"}
