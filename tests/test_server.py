"The embedded PostgreSQL: any path, any user, killed clients, a killed server, many at once. (guard-13: nothing committed is lost)"

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from catalyst.core import UnavailableError
from catalyst.server import Server, start_server, stop_server

COUNT = "from catalyst.schema import open_store; print(open_store().value('select count(*) from sectors'))"


def python(code, home, **kwargs):
    env = {k: v for k, v in os.environ.items() if not k.startswith("CATALYST_")} | {
        "CATALYST_HOME": str(home)
    }
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="catalyst-server-") as d:
        path = Path(d)
        yield path
        for pg in path.rglob("postmaster.pid"):
            stop_server(Server(pg.parents[2]))


LONG = bool(os.environ.get("CATALYST_LONG"))


@pytest.mark.parametrize(
    "name", [*(["x" * 150, "with a space", "quote's"] if LONG else []), "ü n'ï"]
)
def test_any_path(home, name):
    child = python(COUNT, home / name)
    out, err = child.communicate(timeout=60)
    assert out.strip() == "11", err


def test_a_moved_home_is_found(home):
    "guard: the socket's folder was written once, so a home that was moved said that PostgreSQL does not start"
    here, there = Server(home / "it's here"), Server(home / "there")
    here.home.mkdir()
    start_server(here)
    stop_server(here)
    here.home.rename(there.home)
    start_server(there, patience=5)
    assert (there.socket / ".s.PGSQL.5432").exists()


def test_many_at_once(home):
    "Eight processes meet an empty home: one cluster, one schema, all succeed"
    children = [python(COUNT, home) for _ in range(8)]
    results = [c.communicate(timeout=120) for c in children]
    assert [out.strip() for out, _ in results] == ["11"] * 8, [e for _, e in results if e]


def test_killed_server_comes_back_with_what_was_committed(home):
    put = COUNT + "; s = open_store(); s.run(\"insert into securities (symbol) values ('ZZKEEP')\")"
    out, err = python(put, home).communicate(timeout=60)
    assert out.strip() == "11", err
    pid = int((Server(home).data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    ask = (
        COUNT
        + "; print(open_store().value(\"select count(*) from securities where symbol = 'ZZKEEP'\"))"
    )
    out, err = python(ask, home).communicate(timeout=120)
    assert out.split() == ["11", "1"], err


@pytest.mark.skipif(not LONG, reason="CATALYST_LONG=1")
def test_killed_client_leaves_a_working_server(home):
    child = python(COUNT + "; import time; print('ready', flush=True); time.sleep(60)", home)
    while "ready" not in child.stdout.readline():
        assert child.poll() is None, child.stderr.read()
    child.kill()
    child.communicate()
    assert python(COUNT, home).communicate(timeout=60)[0].strip() == "11"


def test_half_made_cluster_is_made_anew(home):
    "An initdb killed half-way leaves a folder that is never mistaken for a cluster"
    (home / "pg" / "data.new").mkdir(parents=True)
    (home / "pg" / "data.new" / "PG_VERSION").write_text("18")
    start_server(Server(home))
    assert (Server(home).data / "base").is_dir()


def test_unwritable_home_is_one_line():
    with pytest.raises(UnavailableError, match="choose a writable folder"):
        start_server(Server(Path("/proc/catalyst")))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_plain_user(home):
    home.chmod(0o777)
    who = dict(user="nobody", group="nogroup", extra_groups=[])
    out, err = python(
        "import os; os.environ['HOME'] = '/tmp'; " + COUNT, home / "his", **who
    ).communicate(timeout=60)
    assert out.strip() == "11", err


@pytest.mark.skipif(not LONG, reason="CATALYST_LONG=1")
def test_socket_swept_away_under_a_living_server(home):
    "A cleaner of temporary files, or an old server of a deleted home, may take the socket"
    server = start_server(Server(home))
    (server.socket / ".s.PGSQL.5432").unlink()
    assert python(COUNT, home).communicate(timeout=120)[0].strip() == "11"
