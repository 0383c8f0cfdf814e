"Tests use a database server of their own, in a folder of their own, and stop it at the end."

import os
import tempfile
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


def pytest_sessionstart(session):
    "Scratch databases need not survive a power cut, and disks are slow at promising that they do"
    if os.environ.get("CATALYST_TEST_DATABASE_URL") or session.config.getoption("numprocesses", 0):
        return  # A given server is not ours to change; with workers, each has its own
    from catalyst.server import Server, start_server
    from catalyst.store import connect

    server = start_server(Server(Path(_HOME.name)))
    with connect(server.url(), "postgres") as c:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            c.execute(f"alter system set {name} = off")
        c.execute("select pg_reload_conf()")


def pytest_sessionfinish(session):
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
