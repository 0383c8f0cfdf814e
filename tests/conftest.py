"Tests use a database server of their own, in a folder of their own, and stop it at the end."

import os
import subprocess
import sys
import tempfile
from itertools import accumulate
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"
# Set before anything of catalyst is imported: notebooks read the environment when they run.
_HOME = tempfile.TemporaryDirectory(prefix="catalyst-tests-")
os.environ["CATALYST_HOME"] = _HOME.name
for name in [n for n in os.environ if n.startswith(("CATALYST_", "APCA_"))]:
    if name not in ("CATALYST_HOME", "CATALYST_TEST_DATABASE_URL", "CATALYST_LONG"):
        del os.environ[name]
# One folder of machine code for all workers and kernels of a run: compiling the backtest takes half a minute.
if "NUMBA_CACHE_DIR" not in os.environ:
    _CODE = tempfile.TemporaryDirectory(prefix="catalyst-numba-")
    os.environ["NUMBA_CACHE_DIR"] = _CODE.name


# Files whose tests begin first, one list for each worker's part: what is long waits for nobody, and no part of them is
# handed to another worker, which would have to make their day anew.
FIRST = [["test_day.py"], ["test_alpaca_day.py", "test_campaign.py"], ["test_server.py"]]
COMPILER = pytest.StashKey[subprocess.Popen]()
COMPILES = "from catalyst.backtest import warm_up; warm_up()"


def pytest_collection_modifyitems(items):
    "Long tests at the beginning of each worker's part"
    long = [[i for i in items if i.path.name in names] for names in FIRST]
    rest = [i for i in items if not any(i in own for own in long)]
    edges = [k * len(items) // len(long) for k in range(len(long) + 1)]
    cuts = [max(e - sum(map(len, long[:k])), 0) for k, e in enumerate(edges)]
    cuts = list(accumulate(cuts, max))
    parts = [own + rest[a:b] for own, a, b in zip(long, cuts, cuts[1:], strict=False)]
    items[:] = [i for part in parts for i in part]


def pytest_sessionstart(session):
    "Scratch databases need not survive a power cut, and disks are slow at promising that they do"
    if session.config.getoption(
        "numprocesses", 0
    ):  # One compiles for all, while the first tests run
        session.config.stash[COMPILER] = subprocess.Popen([sys.executable, "-c", COMPILES])
        return  # Each worker has a server of its own
    if os.environ.get("CATALYST_TEST_DATABASE_URL"):
        return  # A given server is not ours to change
    from catalyst.server import Server, start_server
    from catalyst.store import connect

    server = start_server(Server(Path(_HOME.name)))
    with connect(server.url(), "postgres") as c:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            c.execute(f"alter system set {name} = off")
        c.execute("select pg_reload_conf()")


def pytest_sessionfinish(session):
    if compiler := session.config.stash.get(COMPILER, None):
        compiler.kill()
        compiler.wait()
    from catalyst.server import Server, stop_server

    stop_server(Server(Path(_HOME.name)))
    _HOME.cleanup()


@pytest.fixture
def scratch():
    "A fresh, migrated database"
    from catalyst.schema import scratch_store

    with scratch_store() as store:
        yield store


@pytest.fixture
def shared():
    "The folder of real data; tests that need it are skipped where it is absent"
    if not SHARED.is_dir():
        pytest.skip(f"real data is not here: {SHARED}")
    return SHARED
