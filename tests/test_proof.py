"The commands that attack the program's own numbers: what they refuse, and that they end with status 1 on a finding"

import argparse
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from catalyst import proof
from catalyst.bars import import_bars
from catalyst.clock import get_session, slots
from catalyst.core import InputError
from catalyst.proof import last_sessions, proof_commands, read_files, take_rules
from catalyst.replay import ReplayFeed
from catalyst.signals import SETUPS  # Which registers those that Catalyst brings


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

    leaky = lambda *_, **__: (
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


# What a stranger found

RULE = """
from catalyst.plans import Idea, setup

@setup("own_rule", need=("vwap",), default_on=False)
def own_rule(row, config):
    return Idea("long", row["close"], fit=0.5)
"""


@pytest.fixture
def own(tmp_path):
    "A file with one rule, forgotten afterwards"
    path, before = tmp_path / "mine.py", dict(SETUPS)
    path.write_text(RULE)
    yield path
    SETUPS.clear()
    SETUPS.update(before)


@pytest.fixture
def home(scratch, tmp_path, monkeypatch):
    "A home with ten sessions of two securities"
    days = [d.date().isoformat() for d in pd.bdate_range("2025-07-28", "2025-08-14")]
    path = some_bars(tmp_path / "home.csv", days)
    feed = ReplayFeed(tmp_path / "home.csv", None, timeframe="15min")
    end = get_session(days[-1]).ends
    told = feed.bars(None, "15min", get_session(days[0]).starts, end, end)
    import_bars(scratch, told, "15min", "file", end)
    monkeypatch.setattr(proof, "open_home", lambda a: scratch)
    (tmp_path / "catalyst.toml").write_text(
        "[parameters]\nhalf_spread_bps = 200.0\nmin_confidence = 0.0\nmax_stop_distance_pct = 0.5\n"
    )
    return scratch, str(tmp_path), path


@pytest.fixture
def filled(monkeypatch):
    "The backtest, whose loop takes half a minute to compile: what it was asked is looked at instead"
    seen = {}

    def fill(plans, bars, costs, **more):
        seen.update(more, plans=plans, bars=bars, costs=costs)
        return costs

    monkeypatch.setattr("catalyst.backtest.backtest", fill)
    told = lambda costs: {"costs": costs.describe(), "sharpe": float("nan")}
    monkeypatch.setattr("catalyst.performance.performance", told)
    return seen


def judge(home, own, capsys, *more):
    a = asked("backtest", "--rules", str(own), "--home", home[1], "--json", *more)
    assert a.call(a) == 0
    return json.loads(capsys.readouterr().out, parse_constant=lambda c: pytest.fail(c))


SPAN = ("--from", "2025-08-07", "--to", "2025-08-14")


def test_idea01_a_backtest_takes_the_configuration_of_its_home(home, own, capsys, filled):
    told = judge(home, own, capsys, *SPAN)
    assert "half-spread 200 bp" in told["costs"] and filled["costs"].half_spread_bps == 200
    assert len(filled["plans"]) == 12, "min_confidence 0 of the home lets all of them through"
    file = Path(home[1]) / "catalyst.toml"
    file.write_text(file.read_text().replace("min_confidence = 0.0", "min_confidence = 0.99"))
    a = asked("backtest", "--rules", str(own), "--home", home[1], *SPAN)
    with pytest.raises(InputError, match="12 plans were below min_confidence"):
        a.call(a)


def test_idea02_the_span_asked_for_is_the_span_judged(home, own, capsys, filled):
    judge(home, own, capsys, *SPAN)
    assert (str(filled["start"]), str(filled["end"])) == ("2025-08-07", "2025-08-14")
    last = get_session("2025-08-14")
    own.write_text(
        RULE.replace("return", "if row['asof'].day > 7:\n        return 'no'\n    return")
    )
    judge(home, own, capsys, *SPAN)
    assert set(filled["plans"].decided_at.dt.day) == {7} and str(filled["end"]) == "2025-08-14"
    assert filled["bars"].available_at.max() == last.closes, "bars to the end of the span"


def test_idea13_20_21_the_output_says_rule_and_limits_and_is_json(home, own, capsys, filled):
    told = judge(home, own, capsys, *SPAN)
    assert told["rules"] == "own_rule" and told["sharpe"] is None
    assert "5 minutes after the open to 60" in told["limits"]
    assert "not applied: max_positions 5" in told["limits"]
    assert told["below_min_confidence"] == told["rules_failed"] == 0


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="compiles the loop of the backtest")
def test_idea02_sessions_are_those_of_the_span(home, own, capsys):
    assert judge(home, own, capsys, *SPAN)["sessions"] == 6
    wider = judge(home, own, capsys, "--from", "2025-08-02", "--to", "2025-08-14")
    assert wider["sessions"] == 9, "a weekend at the edge is no session"


def test_idea18_nothing_stored_no_session_and_no_plan_are_three_lines(home, own, scratch):
    calls = [
        (("--from", "2025-08-09", "--to", "2025-08-10"), "a span with sessions"),
        (("--from", "2024-08-12", "--to", "2024-08-12"), "a span with stored bars"),
        (("--from", "2025-08-13", "--to", "2025-08-13"), "saw a plan; there are bars"),
    ]
    for days, said in calls:
        a = asked("backtest", *days, "--home", home[1])
        with pytest.raises(InputError, match=said):
            a.call(a)
    scratch.run("delete from trading_history")
    with pytest.raises(InputError, match="catalyst import bars"):
        a.call(a)


def test_idea20_a_page_that_cannot_be_written_is_told_before_the_work(monkeypatch):
    monkeypatch.setattr(proof, "open_home", lambda a: pytest.fail("the work has begun"))
    days = ("--from", "2025-08-13", "--to", "2025-08-13")
    for words in (("backtest", *days), ("calibration",)):
        a = asked(*words, "--page", "no/where/x.html")
        with pytest.raises(InputError, match="--page: received 'no/where/x.html'"):
            a.call(a)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "a Python file that registers setups"),
        ("x = 1", "a file that registers setups"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
        (RULE.replace("own_rule", "gap_fade"), "setup gap_fade: .*replace=True"),
    ],
)
def test_idea21_a_file_of_rules_that_cannot_be_used_is_one_line(own, text, said):
    own.unlink() if text is None else own.write_text(text)
    before = dict(SETUPS)
    with pytest.raises(InputError, match=said) as e:
        take_rules(str(own))
    assert "\n" not in str(e.value) and SETUPS == before


def test_idea03_21_lookahead_asks_a_rule_of_a_file_and_fails_one_that_reads_a_frame(
    tmp_path, own, capsys
):
    bars = some_bars(tmp_path / "b.csv")
    words = ["validate", "lookahead", "--bars", bars, "--session", "2025-08-13", "--every", "390"]
    words += ["--rules", str(own)]
    a = asked(*words)
    assert a.call(a) == 0
    told = capsys.readouterr().out
    assert "setups asked:" in told and "own_rule" in told and "gap_fade" in told
    peek = 'import pandas as pd\nALL = pd.read_csv(r"%s")\n' % bars
    body = 'return Idea("long", row["close"], fit=float(ALL.close.max() > row["close"]) / 2)'
    own.write_text(peek + RULE.replace('return Idea("long", row["close"], fit=0.5)', body))
    a = asked(*words, "--setup", "own_rule")
    assert a.call(a) == 1
    told = capsys.readouterr().out
    assert "setup asked: own_rule" in told
    assert "UNJUDGEABLE rule own_rule can see global ALL: a DataFrame" in told


@pytest.mark.parametrize(
    "words",
    [
        ("lookahead", "--session", "foo"),
        ("lookahead", "--every", "0"),
        ("lookahead", "--every", "-5"),
        ("lookahead", "--sessions", "0"),
        ("lookahead", "--timeframe", "7min"),
        ("lookahead", "--symbols", "ACM", "ZZZZ"),
        ("lookahead", "--setup", "moonshot"),
        ("warmup", "--sessions", "0"),
    ],
)
def test_idea15_a_mistake_is_never_the_status_of_a_leak(tmp_path, words):
    group = "analyse" if words[0] == "warmup" else "validate"
    a = asked(group, words[0], "--bars", some_bars(tmp_path / "b.csv"), *words[1:])
    with pytest.raises(InputError, match=f"{words[1].strip('-')}|timeframe"):
        a.call(a)


def test_idea27_a_home_without_a_day_says_what_to_do(scratch, capsys, monkeypatch):
    monkeypatch.setattr(proof, "open_home", lambda a: scratch)
    a = asked("calibration", "--asof", "2025-08-14T02:00:00Z")
    assert a.call(a) == 0 and "catalyst day" in capsys.readouterr().out
