"Backups that were restored once, and restores that cannot lose what was there. (guard-26 of the earlier system)"

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalyst import backup as room
from catalyst.backup import backup, differences, read_backup, restore, table_sums
from catalyst.check import check_database
from catalyst.core import (
    CatalystError,
    InputError,
    Secret,
    Settings,
    UnavailableError,
    resource_dir,
)
from catalyst.dims import ensure_times, time_id
from catalyst.schema import migrate, scratch_store
from catalyst.server import Server, stop_server
from catalyst.store import Store, connect

AT = datetime(2025, 8, 13, 14, tzinfo=UTC)
GIVEN = os.environ.get("CATALYST_TEST_DATABASE_URL")


def sums(store):
    with store.transaction() as tx:
        return table_sums(tx)


def left_behind(store):
    with connect(store.url, "postgres") as c:
        return c.execute(room._LEFT).fetchall()


def fill(store):
    "A little of everything that a row can hold, in two months and two schemas"
    for at in (AT, datetime(2025, 7, 2, 14, tzinfo=UTC)):
        ensure_times(store, [time_id(at)])
        store.value("select ensure_partition(:t)", t=time_id(at))
        store.run(
            "insert into trading_history values (1, :t, '15min', 10, 11, 9, 10.5, 100, null, null, :at, 'x')",
            t=time_id(at),
            at=at,
        )
    store.run(
        "insert into trading_cycles (cycle_id, session, world, started_at, configuration) values ('c', :d, 'replay', :at, :j)",
        d=date(2025, 8, 13), at=AT, j='{"b": [1, 2.50, null], "a": "quote \\" and ünï"}',
    )  # fmt: skip
    store.run(
        "insert into ml_pattern_discoveries (discovery_key, time_id, pattern_type, securities_involved, trigger_conditions, predicted_outcome, p_value) values ('k', :t, 'lead\tand\nlag', '{1,2}', '{}', '{}', 1e-300)",
        t=time_id(AT),
    )
    store.run(
        "insert into alerts (alert_key, severity, subject, message, raised_at) values ('a', 'info', '', E'\\\\N \\\\\\\\', :t)",
        t=AT,
    )
    return sums(store)


@pytest.fixture(scope="module")
def kept_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "kept.zip"
    with scratch_store() as store:
        fill(store)
        backup(store, path, made_at=AT)
    return path


@pytest.fixture
def kept(scratch, kept_file):
    "A filled database, its backup, and what both hold"
    held = fill(scratch)
    assert differences(held, read_backup(kept_file)["tables"]) == []
    return scratch, kept_file, held


# What comes back is what was there


def test_everything_comes_back(kept):
    store, file, held = kept
    store.run("delete from alerts")
    store.run("update trading_cycles set configuration = '{}'")
    told = restore(store, file, force=True)
    assert differences(held, sums(store)) == []
    assert (told["tables"], told["rows"]) == (len(held), sum(n for n, _ in held.values()))
    assert [c for c in check_database(store) if not c.ok] == []
    assert left_behind(store) == []


def test_numbering_goes_on_after_a_restore(kept):
    "A sequence that starts anew collides with the first row it meets"
    store, file, _ = kept
    newest = store.value("select max(security_id) from securities")
    restore(store, file, force=True)
    store.run("insert into securities (symbol) values ('ZZNEXT')")
    assert store.value("select max(security_id) from securities") == newest + 1


def test_sums_see_one_letter_and_not_the_order(scratch):
    before = sums(scratch)
    scratch.run("update sectors set sector_name = sector_name")  # Moves every row on the disk
    assert sums(scratch) == before
    scratch.run("update sectors set sector_name = 'Tecknology' where sector_name = 'Technology'")
    assert differences(before, sums(scratch)) == ["public.sectors has other rows, though as many"]


def test_a_backup_of_a_database_at_work_agrees_with_itself(scratch, tmp_path):
    "Counts and dump come from one snapshot"
    stop = threading.Event()

    def write():
        i = 0
        while not stop.is_set():
            scratch.run(
                "insert into alerts (alert_key, severity, subject, message, raised_at) values (:k, 'info', 's', 'm', :t)",
                k=str(i),
                t=AT,
            )
            i += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        told = [backup(scratch, tmp_path / f"{i}.zip") for i in range(2)]
    finally:
        stop.set(), thread.join()
    assert told[0]["rows"] < told[1]["rows"]
    assert scratch.value("select count(*) from alerts") > 0


# Guard 26: a backup that is none is an error


def test_guard_26_a_file_that_is_no_backup_is_one_line(kept, tmp_path):
    store, file, held = kept
    whole, path = file.read_bytes(), tmp_path / "ill"
    i = len(whole) // 2
    with ZipFile(tmp_path / "zip", "w") as z:
        z.writestr("letter.txt", "dear all")
    ill = {
        "empty": b"", "cut": whole[:-1], "cut at once": whole[:1000],
        "bit": whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :],
        "text": b"-- PostgreSQL database dump\n", "dump only": ZipFile(file).read("dump"),
        "foreign zip": (tmp_path / "zip").read_bytes(),
    }  # fmt: skip
    for name, content in ill.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match="a whole file made by: catalyst db backup") as e:
            restore(store, path, force=True)
        assert "\n" not in str(e.value), name
    assert sums(store) == held and left_behind(store) == []


def test_guard_26_a_dump_of_nothing_is_no_backup(scratch, tmp_path, monkeypatch):
    "The earlier system's: the program failed, the pipe succeeded, the file was empty"
    fill(scratch)
    monkeypatch.setattr(room, "_load", lambda store, database, dump: None)
    with pytest.raises(UnavailableError, match="restore: .* is missing"):
        backup(scratch, tmp_path / "b.zip")
    assert list(tmp_path.iterdir()) == [] and left_behind(scratch) == []


@pytest.mark.parametrize("program, told", [("pg_dump", "backup: "), ("pg_restore", "restore: ")])
def test_guard_26_a_failing_program_is_a_failing_backup(
    scratch, tmp_path, monkeypatch, program, told
):
    tools, out = tmp_path / "tools", tmp_path / "out"
    tools.mkdir(), out.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (tools / name).symlink_to(room._binaries() / name)
    (tools / program).unlink()
    (tools / program).write_text("#!/bin/sh\necho 'pg: error: out of luck' >&2; exit 1\n")
    (tools / program).chmod(0o755)
    monkeypatch.setattr(room, "_binaries", lambda: tools)
    with pytest.raises(UnavailableError, match=f"{told}pg: error: out of luck"):
        backup(scratch, out / "b.zip")
    assert list(out.iterdir()) == []


def test_guard_26_a_silent_failure_of_the_dump_is_one_too(scratch, tmp_path, monkeypatch):
    (tmp_path / "pg_dump").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "pg_dump").chmod(0o755)
    monkeypatch.setattr(room, "_binaries", lambda: tmp_path)
    with pytest.raises(UnavailableError, match="pg_dump failed"):
        backup(scratch, tmp_path / "b.zip")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_guard_26_no_damage_goes_unseen(kept_file, tmp_path, data):
    "Whatever byte is changed or cut, the file is refused in one line"
    whole = kept_file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    ill = (
        whole[:at]
        if data.draw(st.booleans())
        else whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    )
    (tmp_path / "ill").write_bytes(ill)
    try:
        told = read_backup(tmp_path / "ill")
    except CatalystError as e:
        assert "\n" not in str(e)
    else:  # A byte of the archive's own dates and permissions
        assert told == read_backup(kept_file)


# Files


def test_an_existing_file_is_replaced_only_when_told(scratch, tmp_path):
    file = tmp_path / "b.zip"
    file.write_text("mine")
    with pytest.raises(InputError, match="a name that is free; or use --force"):
        backup(scratch, file)
    assert file.read_text() == "mine"
    backup(scratch, file, force=True)
    assert read_backup(file)["tables"]
    assert file.stat().st_mode & 0o077 == 0, "a backup is as private as the database"
    assert [p.name for p in tmp_path.iterdir()] == ["b.zip"]


def test_a_backup_that_fails_leaves_the_older_one(scratch, tmp_path, monkeypatch):
    backup(scratch, tmp_path / "b.zip", made_at=AT)
    whole = (tmp_path / "b.zip").read_bytes()
    monkeypatch.setattr(room, "_load", lambda store, database, dump: None)
    with pytest.raises(UnavailableError):
        backup(scratch, tmp_path / "b.zip", force=True)
    assert (tmp_path / "b.zip").read_bytes() == whole


def child(code, *args):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=120
    )


FULL = """
import resource, sys
from catalyst.backup import backup
from catalyst.core import CatalystError
from catalyst.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try: backup(Store(sys.argv[1]), sys.argv[2])
except CatalystError as e: print(type(e).__name__, e)
"""


def test_a_full_disk_is_one_line(scratch, tmp_path):
    told = child(FULL, scratch.url, tmp_path / "b.zip")
    assert told.stdout.startswith("UnavailableError backup /") and told.stdout.count("\n") == 1, (
        told
    )
    assert "File too large" in told.stdout and list(tmp_path.iterdir()) == []


# A kill in the middle

KILLED = """
import os, sys
from catalyst import backup as room
from catalyst.store import Store
where, store, file = sys.argv[1], Store(sys.argv[2]), sys.argv[3]
real = getattr(room, where)
def die(*a, **k):
    if where == "_load": real(*a, **k)
    os.kill(os.getpid(), 9)
setattr(room, where, die)
room.restore(store, file, force=True) if sys.argv[4] == "restore" else room.backup(store, file)
"""


@pytest.mark.parametrize("where", ["_load", "differences", "_exchange"])
def test_a_killed_restore_leaves_the_old_database(kept, where):
    store, file, held = kept
    store.run("insert into securities (symbol) values ('ZZNEW')")
    now = sums(store)
    assert child(KILLED, where, store.url, file, "restore").returncode == -signal.SIGKILL
    assert sums(store) == now
    assert len(left_behind(store)) == 1
    restore(store, file, force=True)
    assert sums(store) == held and left_behind(store) == []


def test_a_kill_between_the_two_names_undoes_both(kept):
    "The exchange is one transaction: its second half never comes, so its first never was"
    store, file, held = kept
    code = """
import os, sys
from catalyst import backup as room
from catalyst.store import Store
real = room._quoted
def die(name):
    if name.startswith("catalyst_restoring"): os.kill(os.getpid(), 9)
    return real(name)
room._quoted = die
room.restore(Store(sys.argv[1]), sys.argv[2], force=True)
"""
    assert child(code, store.url, file).returncode == -signal.SIGKILL
    assert sums(store) == held


@pytest.mark.parametrize("where", ["_dump", "differences"])
def test_a_killed_backup_leaves_no_file_under_its_name(scratch, tmp_path, where):
    fill(scratch)
    done = child(KILLED, where, scratch.url, tmp_path / "b.zip", "backup")
    assert done.returncode == -signal.SIGKILL and not (tmp_path / "b.zip").exists()
    backup(scratch, tmp_path / "b.zip")
    assert left_behind(scratch) == []


# What may be replaced


def test_a_database_in_which_something_is_stored_is_kept(kept):
    store, file, _ = kept
    store.run("insert into securities (symbol) values ('ZZNEW')")
    now = sums(store)
    with pytest.raises(InputError, match="alerts, .*trading_cycles.*or use --force to replace it"):
        restore(store, file)
    assert sums(store) == now


def test_somebody_elses_database_is_kept(kept_file, scratch):
    "The URL may name a database that never was ours"
    scratch.run("create table letters (body text)")
    scratch.run("insert into letters values ('dear all')")
    with pytest.raises(InputError, match="rows in letters"):
        restore(scratch, kept_file)


def test_a_new_database_may_be_replaced(kept_file, scratch):
    told = restore(scratch, kept_file)
    assert told["replaced"] == [] and scratch.value("select count(*) from trading_cycles") == 1


def test_a_database_that_does_not_exist_is_made(kept_file, scratch):
    new = scratch.sibling("restored_anew")
    try:
        told = restore(Settings(database_url=Secret(new.url)), kept_file)
        assert told["rows"] == sum(n for n, _ in sums(new).values())
    finally:
        new.close()
        with connect(scratch.url) as c:
            c.execute("drop database if exists restored_anew with (force)")


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1")
@pytest.mark.skipif(bool(GIVEN), reason="the embedded server is tested on its own")
def test_a_new_home_gets_its_server_and_its_database(kept_file, tmp_path):
    home = tmp_path / "home"
    try:
        told = restore(Settings(home=home), kept_file)
        assert Store(Server(home).url()).value("select count(*) from trading_cycles") == 1
        assert told["replaced"] == []
    finally:
        stop_server(Server(home))


# Older and newer versions


def test_an_older_backup_is_brought_up_to_date(scratch, tmp_path):
    files = sorted(p for p in resource_dir("sql").glob("*.sql") if p.name < "900")
    (tmp_path / "sql").mkdir()
    for path in files[:-1]:
        shutil.copy(path, tmp_path / "sql")
    old = scratch.sibling("older_version")
    with connect(scratch.url) as c:
        c.execute("create database older_version template template0")
        try:
            migrate(old, tmp_path / "sql")
            backup(old, tmp_path / "old.zip")
        finally:
            old.close()
            c.execute("drop database older_version with (force)")
    told = restore(scratch, tmp_path / "old.zip")
    assert files[-1].name in told["migrated"] and "900_functions.sql" in told["migrated"]
    assert [c for c in check_database(scratch) if not c.ok] == []


def test_a_newer_backup_is_refused(kept, tmp_path):
    store, file, held = kept
    told = read_backup(file) | {"catalyst": "9.9"}
    told["migrations"]["099_later.sql"] = "00"
    with ZipFile(file) as old, ZipFile(tmp_path / "new.zip", "w") as new:
        new.writestr("dump", old.read("dump"))
        new.writestr("manifest.json", json.dumps(told))
    with pytest.raises(InputError, match="catalyst 9.9 with 099_later.sql.*upgrade first"):
        restore(store, tmp_path / "new.zip", force=True)
    assert sums(store) == held


# Servers that somebody else keeps


def test_the_password_is_on_no_command_line_and_in_no_error(scratch, monkeypatch):
    class Lent:
        "A connection as a given server would make it"

        class info:
            dsn, password = "host=h user=ann dbname=x", "sesame99"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(room, "connect", lambda url, database=None: Lent())
    command, env = room._program("pg_dump", scratch)
    assert "sesame99" not in " ".join(command) and env["PGPASSWORD"] == "sesame99"
    told = room._complaint(b"pg_dump: error: no entry for ann with sesame99\n", env)
    assert told == "pg_dump: error: no entry for ann with •••"


@pytest.mark.skipif(
    not GIVEN, reason="needs CATALYST_TEST_DATABASE_URL: the embedded server has one role"
)
def test_a_role_that_may_only_create_databases_is_enough(tmp_path):
    with connect(GIVEN) as c:
        c.execute("drop role if exists ann")
        c.execute("create role ann login createdb password 'sesame99'")
        url = urlsplit(GIVEN)
        hers = url._replace(netloc=f"ann:sesame99@{url.hostname}:{url.port}", path="/hers").geturl()
        with connect(hers, "postgres") as own:
            own.execute("create database hers")
        store = Store(hers)
        try:
            migrate(store)
            held = fill(store)
            backup(store, tmp_path / "b.zip")
            store.run("delete from alerts")
            restore(store, tmp_path / "b.zip", force=True)
            assert sums(store) == held
        finally:
            store.close()
            c.execute("drop database hers with (force)")
            c.execute("drop role ann")


@pytest.mark.skipif(
    not GIVEN, reason="needs CATALYST_TEST_DATABASE_URL: the embedded server has one role"
)
def test_a_role_that_may_not_create_databases_is_told(scratch, tmp_path):
    with connect(GIVEN) as c:
        c.execute("drop role if exists bob")
        c.execute("create role bob login superuser password 'sesame99'")
        c.execute("alter role bob nosuperuser nocreatedb")
        url = urlsplit(scratch.url)
        hers = url._replace(netloc=f"bob:sesame99@{url.hostname}:{url.port}").geturl()
        scratch.run("grant usage on schema paper to bob")
        scratch.run("grant select on all tables in schema public, paper to bob")
        scratch.run("grant select on all sequences in schema public, paper to bob")
        try:
            with pytest.raises(UnavailableError, match="permission denied to create database") as e:
                backup(Store(hers), tmp_path / "b.zip")
            assert "sesame99" not in str(e.value) and list(tmp_path.iterdir()) == []
        finally:
            scratch.run("drop owned by bob")
            c.execute("drop role bob")


def test_what_a_killed_backup_left_is_overwritten(scratch, tmp_path):
    "Each killed backup once left a hidden file of its own, and nobody looked for them"
    (tmp_path / ".b.zip.part").write_bytes(b"half of an older backup" * 10**5)
    backup(scratch, tmp_path / "b.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["b.zip"]
