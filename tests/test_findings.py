"Predictions across securities: made in the morning, judged by the close, kept apart where somebody made the price"

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from catalyst import finding
from catalyst.account import suspected
from catalyst.bars import import_bars
from catalyst.clock import get_session, session_offset, slots
from catalyst.config import Config
from catalyst.core import InputError, Settings, World
from catalyst.day import STEPS, run_fast
from catalyst.desk import open_desk, require
from catalyst.dims import securities, security_ids
from catalyst.discover import KINDS, Run
from catalyst.evidence import admit, correct, tried_frame
from catalyst.evidence import finding as found_from
from catalyst.finding import discover_step, field_of, look_across, predictions
from catalyst.findings import (
    PATIENCE,
    drop_blocks,
    excluded,
    judge,
    keep,
    suspects,
    tried,
)
from catalyst.limits import check
from catalyst.packing import pack, unpack
from catalyst.proposals import Book, Facts, RiskState
from catalyst.run import Job, plan_day, read_schedule
from catalyst.standing import leaderboard

DAY = get_session("2025-08-13")
AT = DAY.opens + timedelta(minutes=60)
NAMES = ["AAPL", "ADBE", "AMD", "CRM", "CSCO", "IBM", "INTC", "MSFT", "NVDA", "ORCL", "QCOM", "TXN"]
PRICES = ["open", "high", "low", "close"]


def market(sessions=36, seed=5):
    "Whenever AAPL moves MSFT repeats half of it within half an hour; at a quarter past ten of the last day it leaps"
    ends = [t for n in range(sessions - 1, -1, -1) for t in slots(session_offset(DAY.day, -n))[1:]]
    moves = np.random.default_rng(seed).normal(0, 0.002, (len(ends), len(NAMES)))
    moves[-24, 0] = 0.012
    for lag in (1, 2):
        moves[lag:, 7] += 0.5 * moves[:-lag, 0]
    when = pd.DatetimeIndex(ends).as_unit("us")
    wide = pd.DataFrame(100 * np.exp(moves.cumsum(axis=0)), when.rename("available_at"), NAMES)
    bars = wide.reset_index().melt("available_at", var_name="symbol", value_name="close")
    bars = bars.assign(ts=bars.available_at - pd.Timedelta("15min"), open=bars.close, volume=1000.0)
    return bars.assign(high=bars.close * 1.001, low=bars.close * 0.999)


BARS = market()


@pytest.fixture
def desk_at(scratch, tmp_path):
    "Desks of a replayed day, from a file"
    path = tmp_path / "bars.parquet"
    BARS.drop(columns="available_at").to_parquet(path)
    settings = Settings(home=tmp_path, world=World.REPLAY, replay_bars=path)
    return lambda minutes: open_desk(DAY.opens + timedelta(minutes=minutes), settings, scratch)


def by_hand(ids, who, at=AT, kind="lead_lag", **more):
    "A run with one relation that is believed and fires"
    rows = correct(
        tried_frame(
            {"kind": kind, "key": [f"{kind}:pushed", f"{kind}:other"], "leader": None, "followers": [(ids[who],), (ids["IBM"],)], "statistic": [9.0, 0.1],
             "effect": 0.004, "effect_net": 0.0036, "n": 40, "p": [1e-8, 0.8], "null": "circular shift"}
        )
    )  # fmt: skip
    said = {
        "securities": (ids[who],), "trigger": {"at": at.isoformat(), "sign": 1}, "direction": 1, "horizon": timedelta(hours=1), "probability": 0.7,
        "expected": 0.004, "features": {"against": "sector"}, "model_version": "hand-1",
    }  # fmt: skip
    one = found_from(next(admit(rows).itertuples()), at, **said | more)
    return Run(at, 7, 2.0, 0.05, KINDS, rows, admit(rows), [one], {})


# A day


def test_pd01_what_a_day_foretells_in_the_morning_is_judged_by_the_close(scratch, desk_at):
    due = [t for t, j in plan_day(read_schedule(), DAY) if j.notebook == "70_discover"]
    hours = [AT + timedelta(hours=h) for h in range(6)]
    assert due == [*hours, DAY.closes + timedelta(minutes=15)] and "70_discover" in STEPS
    first = require(discover_step(desk_at(60)))
    assert (first["due"], first["done"], first["admitted"], first["kept"]) == (1, 1, 1, 1)
    assert scratch.value("select count(*) from trading_history") == len(BARS[BARS.available_at <= AT])  # fmt: skip
    [row] = scratch.rows("select * from ml_pattern_discoveries")
    assert (row["discovered_at"], row["verified_at"], row["world"]) == (AT, None, "replay")
    assert row["predicted_outcome"]["direction"] == 1 and row["tried"] == first["tested"] > 100
    second = discover_step(desk_at(120))
    assert second["judged"]["right"] == 1
    [row] = scratch.rows("select * from ml_pattern_discoveries where discovered_at = :t", t=AT)
    assert AT < row["horizon_at"] <= row["verified_at"] <= DAY.closes and row["pattern_success"]
    ours = BARS.pivot(index="available_at", columns="symbol", values="close")
    legs = np.log(ours.loc[[AT, row["horizon_at"]]]).diff().iloc[-1]
    assert row["actual_outcome"]["move"] == pytest.approx(np.expm1(legs["MSFT"] - legs.drop("MSFT").median()), abs=0.003)  # fmt: skip
    late = discover_step(desk_at(405))
    assert late["why"] == "only judged"
    assert discover_step(desk_at(405)) == late


def test_pd01_a_search_that_breaks_is_a_failed_run_and_loses_no_judgement(
    scratch, desk_at, monkeypatch
):
    desk = desk_at(60)
    require(discover_step(desk))
    monkeypatch.setattr(finding, "look_across", lambda *a, **k: 1 / 0)
    broken = run_fast(desk_at(120), Job("70_discover"))
    assert broken.status == "failed" and "ZeroDivisionError" in broken.error
    assert scratch.value("select count(*) from discovery_runs") == 1, "failed is not empty"
    assert scratch.value("select count(*) from ml_pattern_discoveries where verified_at is not null") == 1  # fmt: skip


def test_pd01_too_little_history_is_told_and_is_no_failure(scratch, tmp_path):
    path = tmp_path / "bars.parquet"
    BARS[BARS.ts >= session_offset(DAY.day, -9).opens].to_parquet(path)
    settings = Settings(home=tmp_path, world=World.REPLAY, replay_bars=path)
    run = run_fast(open_desk(AT, settings, scratch), Job("70_discover"))
    assert (run.status, run.error) == ("completed", None)
    [row] = scratch.rows("select why, hypotheses from discovery_runs")
    assert row == {"why": "10 sessions of bars, at least 30 are needed", "hypotheses": 0}


def test_what_comes_later_changes_no_run(scratch):
    import_bars(scratch, BARS, "15min", "lesson", DAY.ends)
    run, _, _ = look_across(scratch, AT, "replay", Config(), ["lead_lag"])
    later = "update trading_history set close = open * 0.5, low = open * 0.5 where available_at > :t"  # fmt: skip
    assert scratch.run(later, t=AT) > 100
    again, _, _ = look_across(scratch, AT, "replay", Config(), ["lead_lag"])
    pd.testing.assert_frame_equal(run.tried, again.tried, check_exact=True)
    assert [f.securities for f in run.findings] == [f.securities for f in again.findings]


# Securities


def test_pd04_a_security_is_one_however_often_its_bars_come(scratch):
    short = BARS[BARS.ts >= session_offset(DAY.day, -1).opens]
    other = short.assign(symbol=short.symbol.str.lower() + " ")
    for bars, feed in ((short, "one"), (short, "one"), (other, "two")):
        import_bars(scratch, bars, "15min", feed, DAY.ends)
    names = securities(scratch).symbol
    assert names.is_unique
    fld = field_of(scratch, AT, Config(), [*names.index, *names.index])
    assert len(set(fld.ids)) == len(fld.ids) == len(NAMES)
    assert sorted(names[fld.ids]) == sorted(NAMES)
    with pytest.raises(Exception, match="unique|overlap|exclu|duplicate"):
        scratch.run("insert into securities (symbol) values ('MSFT')")


def test_pd04_one_prediction_about_one_set_of_securities(scratch):
    ids = security_ids(scratch, NAMES)
    run = by_hand(ids, "MSFT")
    twice = replace(run, findings=run.findings * 2)
    assert keep(scratch, twice, "replay", AT) == keep(scratch, twice, "replay", AT)
    assert scratch.value("select count(*) from ml_pattern_discoveries") == 1
    later = by_hand(ids, "MSFT", AT + timedelta(minutes=30))
    assert keep(scratch, later, "replay", later.asof)["open"] == 1
    again = by_hand(ids, "MSFT", AT + timedelta(minutes=60))
    assert keep(scratch, again, "replay", again.asof)["kept"] == 1
    assert keep(scratch, run, "simulated", AT)["kept"] == 1
    by_world = "select count(*) from ml_pattern_discoveries group by world order by world"
    assert [r["count"] for r in scratch.rows(by_world)] == [2, 1], "worlds share no predictions"
    with pytest.raises(InputError, match="a run as of"):
        keep(scratch, again, "replay", AT)


# Adversarial


def test_pd06_a_promotion_is_kept_apart_and_shrinks_what_may_be_entered(scratch):
    ids = security_ids(scratch, NAMES)
    more = {"kind": "pump_and_dump", "direction": -1, "adversarial": True}
    told = keep(scratch, by_hand(ids, "AMD", **more), "replay", AT)
    keep(scratch, by_hand(ids, "MSFT"), "replay", AT)
    assert told["warnings"] == 1
    spans = [(t, list(suspects(scratch, t, "replay"))) for t in (AT - timedelta(minutes=1), AT, AT + timedelta(hours=1))]  # fmt: skip
    assert [s for _, s in spans] == [[], [ids["AMD"]], []]
    assert suspects(scratch, AT, "alpaca") == {}
    away = excluded(scratch, AT)
    assert away.security_id.tolist() == [ids["AMD"]] and len(excluded(scratch, AT - timedelta(minutes=1))) == 0  # fmt: skip
    assert (away.begin[0], away.end[0]) == (session_offset(DAY.day, -1).opens, AT + timedelta(hours=1))  # fmt: skip
    board = leaderboard(scratch, AT, 0)
    assert board[["kind", "adversarial"]].values.tolist() == [["lead_lag", False], ["pump_and_dump", True]]  # fmt: skip
    assert predictions(scratch, AT).says.str.startswith("warning: ").sum() == 1
    assert set(suspected(scratch, AT, "replay")) == {ids["AMD"]}
    with pytest.raises(Exception, match="check"):
        scratch.run("update ml_pattern_discoveries set adversarial = false")


def test_pd06_the_gate_asks_whether_a_price_is_talked_up(scratch):
    from catalyst.account import read_book
    from catalyst.core import PositionSide
    from catalyst.ports import Account
    from catalyst.proposals import Proposal

    ids = security_ids(scratch, NAMES)
    keep(scratch, by_hand(ids, "AMD", kind="pump_and_dump", direction=-1, adversarial=True), "replay", AT)  # fmt: skip
    money = Account("paper", Decimal(100_000), Decimal(100_000), Decimal(100_000), AT, simulated=True)  # fmt: skip
    book = read_book(scratch, money, [], [ids["AMD"], ids["IBM"]], AT, world="replay")

    def verdict(name, shares, book=book):
        asked = Proposal(ids[name], name, PositionSide.LONG, Decimal(shares), Decimal(100), Decimal(99), Decimal(102), "test", AT, AT + timedelta(hours=1))  # fmt: skip
        return {c.name: c.verdict for c in check(asked, book, Config())}["promotion"]

    assert [verdict("AMD", n) for n in (25, 26)] == ["approved", "refused"]
    assert verdict("IBM", 100) == "approved"
    other = read_book(scratch, money, [], [ids["AMD"]], AT, world="alpaca")
    assert verdict("AMD", 100, other) == "approved"
    assert Book(AT, Decimal(1), Decimal(1), state=RiskState.ACTIVE).of(1) == Facts()


# Outcomes


def test_no_bars_is_neither_right_nor_wrong_and_late_bars_count(scratch):
    ids, end = security_ids(scratch, NAMES), AT + timedelta(hours=1)
    gone = BARS[(BARS.symbol == "MSFT") & (BARS.available_at == end)]
    short = BARS[BARS.ts >= session_offset(DAY.day, -2).opens]
    import_bars(scratch, short.drop(gone.index), "15min", "lesson", DAY.ends)
    keep(scratch, by_hand(ids, "MSFT"), "replay", AT)
    assert judge(scratch, end - timedelta(minutes=15))["due"] == 0
    assert judge(scratch, end)["waiting"] == 1
    keep(scratch, by_hand(ids, "AMD"), "replay", AT)
    assert judge(scratch, end)["due"] == 2
    import_bars(scratch, gone, "15min", "lesson", DAY.ends)
    late = judge(scratch, DAY.closes)
    assert late["waiting"] == 0 and late["right"] + late["wrong"] == 1
    scratch.run("update ml_pattern_discoveries set securities_involved = '{99999}', verified_at = null, actual_outcome = null, pattern_success = null")  # fmt: skip
    assert judge(scratch, end + PATIENCE)["unknown"] == 2
    rows = scratch.rows("select actual_outcome, pattern_success from ml_pattern_discoveries")
    assert {r["pattern_success"] for r in rows} == {None}
    assert all("0 of 1" in r["actual_outcome"]["reason"] for r in rows)


def test_a_relation_that_stopped_working_is_not_asked_again(scratch):
    ids = security_ids(scratch, NAMES)
    rule = Config({"retire_min_count": 8})
    for n in range(8):
        at = AT - timedelta(days=40 - n)
        keep(scratch, by_hand(ids, "MSFT", at), "replay", at)
    scratch.run(
        """update ml_pattern_discoveries set verified_at = horizon_at, pattern_success = discovery_id % 4 = 0,
           actual_outcome = '{"gain_net": -0.001}'"""
    )
    told = keep(scratch, by_hand(ids, "MSFT"), "replay", AT, rule)
    assert (told["kept"], told["retired"]) == (0, 1)
    board = leaderboard(scratch, AT, config=rule)
    assert (board.judged[0], board.hits[0], board.retired[0], board.brier[0] > 0.25) == (8, 2, 1, True)  # fmt: skip
    assert keep(scratch, by_hand(ids, "MSFT"), "replay", AT)["kept"] == 1, "eight of twenty"


# Everything that was tried


def test_pd07_everything_that_was_tried_comes_back_and_costs_little(scratch):
    draw, n = np.random.default_rng(3), 2_000
    p = np.where(draw.random(n) < 0.1, np.nan, np.maximum(draw.random(n), 1e-12))
    rows = correct(
        tried_frame(
            {"kind": "lead_lag", "key": [f"lead_lag:{i // 70}>{i % 70}" for i in range(n)], "leader": [i // 70 for i in range(n)],
             "followers": [(i % 70,) for i in range(n)], "statistic": draw.normal(size=n), "effect": draw.normal(0, 0.01, n),
             "effect_net": draw.normal(0, 0.01, n), "n": draw.integers(0, 900, n), "p": p, "null": "circular shift",
             "detail": [{"window": (0, int(k)), "hits": int(k) * 3} for k in draw.integers(1, 9, n)]}
        )
    )  # fmt: skip
    pd.testing.assert_frame_equal(unpack(pack(rows)), rows, rtol=1e-6)
    run = replace(by_hand(security_ids(scratch, NAMES), "MSFT"), tried=rows, admitted=rows[:0], findings=[])  # fmt: skip
    told = keep(scratch, run, "replay", AT)
    back = tried(scratch, told["run_id"])
    assert len(back) == told["hypotheses"] == n and back.tried.eq(rows.tried.max()).all()
    assert scratch.value("select sum(octet_length(block)) from discovery_tried") < 30 * n
    assert drop_blocks(scratch, AT + timedelta(days=15)) == 1
    assert tried(scratch, told["run_id"]) is None
    with pytest.raises(InputError, match="run: received 12345"):
        tried(scratch, 12345)


# The command


@pytest.mark.parametrize("words", [["discover"], ["discover", "show"], ["discover", "outcomes"]], ids=" ".join)  # fmt: skip
def test_help_answers_at_once(words):
    code = f"import sys, json\nfrom catalyst.cli import main\ntry: main({[*words, '--help']!r})\nexcept SystemExit as e: assert e.code == 0\nprint(json.dumps(sorted({{'pandas', 'numpy', 'sqlalchemy', 'sklearn', 'scipy'}} & set(sys.modules))))"  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout.splitlines()[-1]) == []
