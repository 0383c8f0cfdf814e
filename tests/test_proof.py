"The commands that attack the program's own numbers: what they refuse, and that they end with status 1 on a finding"

import argparse
import json

import pandas as pd
import pytest

from catalyst import proof
from catalyst.clock import get_session, slots
from catalyst.core import InputError
from catalyst.proof import last_sessions, proof_commands, read_files


def asked(*words):
    top = argparse.ArgumentParser()
    proof_commands(top.add_subparsers())
    return top.parse_args(words)


def some_bars(path, days=("2025-08-12", "2025-08-13", "2025-08-14"), symbols=("ACM", "WDG")):
    rows = []
    for i, day in enumerate(days):
        for j, t in enumerate(slots(get_session(day), 15)[:-1]):
            for k, s in enumerate(symbols):
                price = 20 + i + 0.1 * ((7 * j + 3 * k) % 11)
                rows.append(
                    [s, t.isoformat(), price, price + 0.2, price - 0.2, price + 0.05, 1000 + 50 * j]
                )
    names = ["symbol", "ts", "open", "high", "low", "close", "volume"]
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)
    return str(path)


def test_warmup_tells_every_indicator(tmp_path, capsys):
    a = asked("analyse", "warmup", "--bars", some_bars(tmp_path / "b.csv"), "--json")
    assert a.call(a) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"sma_20", "rsi_14", "vwap"} <= {r["column"] for r in told}


def test_lookahead_is_clean_and_a_leak_ends_with_status_1(tmp_path, capsys, monkeypatch):
    words = [
        "validate",
        "lookahead",
        "--bars",
        some_bars(tmp_path / "b.csv"),
        "--session",
        "2025-08-13",
        "--every",
        "180",
    ]
    a = asked(*words)
    assert a.call(a) == 0 and "0 leak" in capsys.readouterr().out
    from catalyst import validate

    leaky = lambda *_: (
        lambda bars, news, asof, **more: {"peek": bars.groupby(level=0).close.last().to_frame()}
    )
    monkeypatch.setattr(validate, "pipeline", leaky)
    assert a.call(a) == 1 and "LEAK peek.close" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path):
    bars = some_bars(tmp_path / "b.csv")
    for words, said in [
        (("analyse", "warmup", "--bars", "none.csv"), "file: received 'none.csv'"),
        (("analyse", "warmup", "--bars", bars, "--symbols", "ZZZ"), "--symbols: received 'ZZZ'"),
        (
            ("validate", "lookahead", "--bars", bars, "--session", "2025-08-16"),
            "--session: received '2025-08-16'",
        ),
        (("backtest", "--from", "soon", "--to", "2025-08-13"), "--from, --to"),
        (("backtest", "--from", "2025-08-14", "--to", "2025-08-13"), "--from, --to"),
    ]:
        a = asked(*words)
        if words[0] == "backtest":
            with pytest.raises(InputError, match=said):
                proof._span(a)
        else:
            with pytest.raises(InputError, match=said):
                rows, _ = read_files(a)
                last_sessions(
                    rows, 1, pd.Timestamp(a.session).date() if getattr(a, "session", None) else None
                )


def test_calibration_counts_first_when_told_and_writes_its_page(
    scratch, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(proof, "open_home", lambda a: scratch)
    a = asked(
        "calibration",
        "--learn",
        "--asof",
        "2025-08-14T02:00:00Z",
        "--page",
        str(tmp_path / "w.html"),
        "--json",
    )
    assert a.call(a) == 0 and json.loads(capsys.readouterr().out) == []
    assert "No outcome is known yet." in (tmp_path / "w.html").read_text()
