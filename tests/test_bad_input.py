"What a user can get wrong: one clear line, exit status 2, nothing half-written. (design, section 7)"

import os

import pandas as pd
import pytest

from catalyst.cli import main

GOOD = {
    "symbol": ["AAA"],
    "ts": ["2025-08-13T13:30:00+00:00"],
    "open": [10.0],
    "high": [11.0],
    "low": [9.0],
    "close": [10.5],
    "volume": [100],
}


def ask(capsys, *argv):
    status = main([str(a) for a in argv])
    err = capsys.readouterr().err
    assert status == 2, err
    assert err.startswith("catalyst: ") and err.count("\n") == 1 and "Traceback" not in err, err
    assert len(err) < 500, err
    return err


def bars(tmp_path, change=None, name="bars.csv", drop=()):
    path = tmp_path / name
    pd.DataFrame(GOOD | (change or {})).drop(columns=list(drop)).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "session, says",
    [
        ("2025-12-25", "holiday"),
        ("2025-08-16", "weekend"),
        ("tomorrow", "a date such as"),
        ("1850-01-02", "trading day between"),
        ("2025-08-14", "the bars hold no 2025-08-14"),
    ],
)
def test_session(capsys, tmp_path, session, says):
    home = tmp_path / "home"
    assert says in ask(
        capsys, "day", "--session", session, "--bars", bars(tmp_path), "--home", home
    )
    assert not (home / "pg").exists()


def test_missing_file(capsys, tmp_path):
    assert "an existing file" in ask(
        capsys,
        "day",
        "--session",
        "2025-08-13",
        "--bars",
        tmp_path / "no.parquet",
        "--home",
        tmp_path / "h",
    )


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("x.parquet", b"PAR1 but not really", "x.parquet"),
        ("x.csv", b"", "x.csv"),
        ("x.csv", b"\xff\xfe\x00\x00\x01", "x.csv"),
        ("x.json", b"{}", "x.json"),
    ],
)
def test_unreadable_file(capsys, tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    assert says in ask(
        capsys,
        "day",
        "--session",
        "2025-08-13",
        "--bars",
        tmp_path / name,
        "--home",
        tmp_path / "h",
    )


def test_missing_column_is_named(capsys, tmp_path):
    assert "close" in ask(
        capsys,
        "day",
        "--session",
        "2025-08-13",
        "--bars",
        bars(tmp_path, drop=["close"]),
        "--home",
        tmp_path / "h",
    )


@pytest.mark.parametrize("stamps", [["2025-08-13 13:30:00"], ["2025-08-13 09:30"]])
def test_naive_times_are_refused(capsys, tmp_path, stamps):
    assert (
        "time zone"
        in ask(
            capsys,
            "day",
            "--session",
            "2025-08-13",
            "--bars",
            bars(tmp_path, {"ts": stamps}),
            "--home",
            tmp_path / "h",
        ).lower()
    )


def test_home_that_cannot_be_written(capsys, tmp_path):
    assert "--home" in ask(capsys, "db", "init", "--home", "/proc/catalyst")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:open-sesame@127.0.0.1:1/x",
        "not a url",
        "mysql://u:open-sesame@127.0.0.1:1/x",
    ],
)
def test_database_url_that_does_not_answer(capsys, tmp_path, monkeypatch, url):
    monkeypatch.setenv("CATALYST_DATABASE_URL", url)
    assert "sesame" not in ask(capsys, "db", "init", "--home", tmp_path)


@pytest.mark.parametrize("given", ["asoff=2025-08-13T14:00:00+00:00", "asof=noon", "asof"])
def test_parameters_of_a_notebook(capsys, tmp_path, given):
    ask(capsys, "run", "20_scan", "-p", given, "--home", tmp_path)
    assert not (tmp_path / "runs").exists()


def test_unknown_notebook(capsys, tmp_path):
    assert "10_news" in ask(capsys, "run", "20_scam", "--home", tmp_path)


@pytest.mark.parametrize(
    "name, value", [("max_postions", "3"), ("max_positions", "many"), ("max_positions", "5000")]
)
def test_configuration(capsys, tmp_path, name, value, monkeypatch):
    monkeypatch.setenv("CATALYST_HOME", os.environ["CATALYST_HOME"])
    ask(capsys, "config", "set", name, value, "--reason", "a test")


def test_unknown_setting_in_the_file(capsys, tmp_path):
    (tmp_path / "catalyst.toml").write_text('wrld = "replay"\n')
    assert "wrld" in ask(capsys, "doctor", "--home", tmp_path)


@pytest.mark.parametrize("symbol", ["NA", "NAN", "TRUE", "NULL", "INF"])
def test_tickers_that_look_like_missing_values(scratch, tmp_path, symbol):
    from catalyst.bars import import_bars
    from catalyst.history import read_bars
    from catalyst.clock import get_session
    from catalyst.dims import securities
    from catalyst.replay import ReplayFeed

    feed, day = ReplayFeed(bars=bars(tmp_path, {"symbol": [symbol]})), get_session("2025-08-13")
    frame = feed.bars(None, "15min", day.starts, day.ends, day.ends)
    assert import_bars(scratch, frame, "15min", feed.name, day.ends).accepted == 1
    held = read_bars(scratch, day.ends)
    assert securities(scratch).symbol[held.index[0][0]] == symbol


def test_guard_21_duplicates_and_contradictions_are_counted(scratch, tmp_path):
    from catalyst.bars import import_bars
    from catalyst.clock import get_session
    from catalyst.replay import ReplayFeed

    many = {k: v * 6 for k, v in GOOD.items()} | {
        "high": [11.0, 11.0, 12.0, 8.0, 11.0, 11.0],
        "volume": [100, 100, 100, 100, 0, 100],
    }
    many["ts"] = [
        "2025-08-13T13:30:00Z",
        "2025-08-13T13:30:00Z",
        "2025-08-13T09:30:00-04:00",
        "2025-08-13T13:45:00Z",
        "2025-08-13T14:00:00Z",
        "2025-08-13T14:07:00Z",
    ]
    feed, day = ReplayFeed(bars=bars(tmp_path, many)), get_session("2025-08-13")
    frame = feed.bars(None, "15min", day.starts, day.ends, day.ends)
    tallies = [import_bars(scratch, frame, "15min", feed.name, day.ends) for _ in range(2)]
    assert tallies[0] == tallies[1]
    t = tallies[0]
    assert t.accepted + t.repaired + t.quarantined == 6
    assert scratch.value("select count(*) from trading_history") == 1
    assert scratch.value("select count(*) from quarantine") == t.quarantined == 4
