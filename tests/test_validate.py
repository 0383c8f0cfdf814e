"Look-ahead analysis: five planted twins are caught and named by their column, the clean strategy and the real chain pass."

import numpy as np
import pandas as pd
import pytest
from test_indicators import bars_frame, walk

from catalyst.clock import parse_instant
from catalyst.config import Config
from catalyst.core import InputError
from catalyst.foresight import PRICES, alter, differences, truncate
from catalyst.validate import REPORT, instants_of, lookahead, news_of, pipeline, valid_at

SPAN = 5  # Bars on either side that make a pivot


def items(bars, n=60, seed=4):
    "News over the sessions of `bars`, received up to ten hours after it was printed"
    draw, ends = np.random.default_rng(seed), bars.available_at.unique()
    received = (
        pd.Series(draw.choice(ends, n)).astype("datetime64[us, UTC]").sort_values(ignore_index=True)
    )
    strength = draw.uniform(0.3, 1, n)
    return pd.DataFrame(
        {
            "news_id": np.arange(n), "story_id": np.arange(n), "security_id": draw.choice(bars.index.unique(0), n),
            "headline": [f"item {i}" for i in range(n)], "source_name": "wire", "source_tier": 1, "tone_label": "neutral",
            "published_at": received - pd.to_timedelta(draw.integers(0, 600, n), unit="min"), "received_at": received,
            "tone": draw.uniform(-1, 1, n), "catalyst_type": "contract", "catalyst_strength": strength, "story_strength": strength,
        }
    )  # fmt: skip


def periods(bars):
    "An index that one security leaves and another joins in the middle of the last session"
    ids, first = sorted(bars.index.unique(0)), bars.available_at.min()
    middle = bars.available_at.max() - pd.Timedelta("4h")
    start = [first] * (len(ids) - 1) + [middle]
    end = pd.Series([middle, *[pd.NaT] * (len(ids) - 1)], dtype="datetime64[us, UTC]")
    return pd.DataFrame(
        {"security_id": ids, "from": pd.Series(start).astype("datetime64[us, UTC]"), "to": end}
    )


def highs(bars, late):
    "The last swing high known at each bar; `late` tells when it was confirmed, otherwise it stands at its own bar"
    by = bars.high.groupby(level=0)
    top = by.transform(lambda h: h.rolling(2 * SPAN + 1, center=True).max()) == bars.high
    pivots = bars.high.where(top)
    return (pivots.groupby(level=0).shift(SPAN) if late else pivots).groupby(level=0).ffill()


def strategy(**wrong):
    "A small strategy, right in everything but what `wrong` names"

    def run(bars, news, asof, membership):
        close = bars.close
        by = close.groupby(level=0)
        row = pd.DataFrame({"close": close, "return_1": by.pct_change()})
        row["next_return"] = by.shift(-1) / close - 1 if "bar" in wrong else by.pct_change(2)
        row["swing_high"] = highs(bars, late="pivot" not in wrong)
        seen = by.expanding() if "scaler" not in wrong else None
        mean, spread = (
            (seen.mean().droplevel(0), seen.std().droplevel(0))
            if seen
            else (by.transform("mean"), by.transform("std"))
        )
        row["scaled"] = (close - mean) / spread
        known = news[news["published_at" if "news" in wrong else "received_at"] <= asof]
        tone = (
            known.sort_values("news_id")
            .groupby("security_id")
            .tone.mean()
            .rename("tone")
            .to_frame()
        )
        members = (
            membership[membership.to.isna()]
            if "members" in wrong
            else valid_at(membership, asof).reset_index()
        )
        universe = pd.DataFrame(
            {"member": bars.index.unique(0).isin(members.security_id)}, index=bars.index.unique(0)
        )
        last = row[bars.available_at <= asof].groupby(level=0).tail(1).droplevel("ts")
        last = last.join(tone).join(universe)
        buy = last[(last.next_return > 0) & (last.tone > 0) & last.member].reset_index()
        plans = buy.assign(
            setup="rising", decided_at=pd.Timestamp(asof), entry_price=buy.close * 1.001
        )
        return {
            "features": row,
            "news": tone,
            "universe": universe,
            "plans": plans[["security_id", "setup", "decided_at", "entry_price"]],
        }

    return run


TWINS = {"bar": "features.next_return", "pivot": "features.swing_high", "news": "news.tone", "scaler": "features.scaled", "members": "universe.member"}  # fmt: skip


def check_twins(bars, news, instants):
    members = periods(bars)
    clean = lookahead(strategy(), bars, news, instants, membership=members)
    assert (
        clean.status == 0
        and (clean.columns[clean.columns.frame != "plans"].verdict == "clean").all()
    ), clean.text()
    for twin, column in TWINS.items():
        report = lookahead(strategy(**{twin: True}), bars, news, instants, membership=members)
        named = set(report.leaks.frame + "." + report.leaks.column)
        assert report.status == 1 and column in named, (twin, report.text())
        assert {n for n in named if not n.startswith("plans.")} == {column}, (
            twin,
            named,
        )  # and nothing else is blamed
        leak = report.leaks[report.leaks.column == column.split(".")[1]].iloc[0]
        assert leak.instant in instants and leak["where"] and column in report.text()
        assert not (pd.isna(leak.with_future) and pd.isna(leak.without))


@pytest.fixture(scope="module")
def data():
    bars = walk(26 * 4, seed=9, ids=(1, 2, 3))
    return bars, items(bars)


def test_val_the_five_planted_twins_are_caught(data):
    bars, news = data
    check_twins(bars, news, instants_of(bars, every=150)[:2])


def test_val_one_instant_is_enough(data):
    bars, news = data
    check_twins(bars, news, instants_of(bars)[1:2])


def test_val_news_twin_is_caught_where_nothing_was_late(data):
    "Every item was received when it was printed: only the rewritten future can tell the two clocks apart"
    bars, news = data
    prompt = news.assign(published_at=news.received_at)
    report = lookahead(
        strategy(news=True), bars, prompt, instants_of(bars)[:2], membership=periods(bars)
    )
    assert set(report.leaks.frame) >= {"news"}
    assert not report.leaks.found_by.str.contains("truncated").any()


def test_val_truncation_alone_would_miss_it(data):
    "A rule that gets 'no' from a missing bar and from a falling one: in this market the next bar falls"
    bars, news = data
    asof = instants_of(bars)[1]
    falling = bars.copy()
    after = (falling.available_at > asof).to_numpy()
    falling.loc[after, PRICES] *= 0.9

    def rule(bars, news, asof):
        up = bars.close.groupby(level=0).shift(-1) > bars.close
        return {"features": up.to_frame("rises")}

    [leak] = lookahead(rule, falling, None, [asof]).leaks.itertuples()
    assert leak.column == "rises" and leak.found_by == "altered up"


def test_val_rows_that_only_one_side_has_are_named_by_their_clock(data):
    "A pattern stored at its pivot although it was confirmed five bars later"
    bars, news = data

    def run(bars, news, asof, honest):
        top = highs(bars, late=honest)
        new = top.notna() & (top != top.groupby(level=0).shift())
        return {
            "patterns": pd.DataFrame({"confirmed_at": bars.available_at[new], "level": top[new]})
            .reset_index()
            .assign(pattern_type="top", pattern_subtype="")
        }

    instants = instants_of(bars, sessions=1, every=60)
    assert lookahead(lambda b, n, t: run(b, n, t, True), bars, None, instants).status == 0
    report = lookahead(lambda b, n, t: run(b, n, t, False), bars, None, instants)
    assert (
        set(report.leaks.column) == {"confirmed_at"} and report.leaks.with_future.iloc[0] == "row"
    )


def test_val_unjudged_and_untested_are_said(data):
    bars, news = data
    report = lookahead(lambda b, n, t: {"f": b[["close"]].assign(empty=np.nan)}, bars, news[news.received_at < instants_of(bars)[0]], instants_of(bars)[:1])  # fmt: skip
    verdict = report.columns.set_index("column").verdict
    assert (
        verdict.to_dict() == {"close": "clean", "empty": "unjudged"}
        and list(report.columns) == REPORT
    )
    assert (
        "never filled: f.empty" in report.text()
        and "nothing was withheld from news" in report.text()
    )


def test_val_a_hidden_failure_is_a_finding_and_a_plain_one_is_raised(data):
    bars, _ = data
    [asof] = instants_of(bars)[:1]
    need = lambda b, n, t: {"f": b[b.available_at > t].iloc[[0]][["close"]]}
    assert lookahead(need, bars, None, [asof]).leaks.column.tolist() == ["error"]
    with pytest.raises(ZeroDivisionError):
        lookahead(lambda b, n, t: 1 / 0, bars, None, [asof])


def test_val_the_pipeline_cannot_spoil_the_data(data):
    bars, news = data
    kept = bars.copy()

    def spoil(b, n, t):
        answer = b[["close"]].copy()
        b.loc[:, "close"] = 0.0
        return {"f": answer}

    assert lookahead(spoil, bars, news, instants_of(bars)[:2]).status == 0
    pd.testing.assert_frame_equal(bars, kept)


def test_val_refusals(data):
    bars, news = data
    ask = lambda **t: lookahead(lambda b, n, a, **k: {"f": b[["close"]]}, bars, news, **t)
    with pytest.raises(InputError, match="at least one"):
        ask(instants=[])
    with pytest.raises(InputError, match="sectors.*says when"):
        ask(instants=instants_of(bars)[:1], sectors=pd.DataFrame({"sector_id": [1]}))
    with pytest.raises(InputError, match="instants"):
        ask(instants=[instants_of(bars)[0].replace(tzinfo=None)])
    with pytest.raises(InputError, match="one answer to one question"):
        draw = np.random.default_rng(1)
        lookahead(
            lambda b, n, a: {"f": b[["close"]] * draw.normal()}, bars, None, instants_of(bars)[:1]
        )


def test_val_the_past_is_never_touched(data):
    "Both ways of changing the future leave every known cell as it was"
    bars, news = data
    for table, clock in ((bars, "available_at"), (news, "received_at")):
        for asof in instants_of(bars)[:3]:
            past = table[table[clock] <= asof]
            pd.testing.assert_frame_equal(truncate(table, asof), past)
            for up in (True, False):
                other = alter(table, asof, up)
                pd.testing.assert_frame_equal(other[other[clock] <= asof], past)
                assert not other.equals(table)
                if table is bars:
                    assert (other.low <= other[PRICES].min(axis=1)).all() and (
                        other.high >= other[PRICES].max(axis=1)
                    ).all()


def test_val_a_row_too_many_does_not_shift_the_rest():
    one = pd.DataFrame({"security_id": [1, 2, 3], "price": [1.0, 2.0, 3.0]})
    found = differences(one, one.iloc[1:].assign(price=[2.0, 3.5]))
    assert {d["column"]: (d["differing"], d["where"]) for d in found} == {
        "price": (1, "security_id 3"),
        "row": (1, "security_id 1"),
    }


def test_val_the_real_chain_is_clean_on_a_walk():
    bars = walk(26 * 9, seed=9, ids=(1, 2, 3))
    sectors = periods(bars).assign(
        sector_id=1, to=pd.Series([pd.NaT] * 3, dtype="datetime64[us, UTC]")
    )
    tables = dict(membership=periods(bars), sectors=sectors)
    report = lookahead(
        pipeline(Config()), bars, items(bars, 200), instants_of(bars)[1:4:2], **tables
    )
    assert report.status == 0, report.text()
    verdict = report.columns[report.columns.frame == "features"].set_index("column").verdict
    assert verdict["peer_catalyst_score"] == verdict["sector_change_pct"] == "clean"
    assert set(report.columns.frame) >= {"indicators", "patterns", "features", "refusals"}
    assert (report.columns.verdict == "clean").sum() > 60


def test_val_a_leak_in_the_real_chain_is_caught(monkeypatch):
    "The wall of the feature page taken down: news by the printed time reaches features and plans"
    import catalyst.features as page

    known = page.known_news
    monkeypatch.setattr(
        page,
        "known_news",
        lambda news, asof, hours: known(news.assign(received_at=news.published_at), asof, hours),
    )
    bars = walk(26 * 9, seed=9, ids=(1, 2, 3))
    report = lookahead(pipeline(Config()), bars, items(bars, 200), instants_of(bars)[1:2])
    assert {"catalyst_score", "news_id", "news_count"} <= set(
        report.leaks[report.leaks.frame == "features"].column
    )
    assert "indicators" not in set(report.leaks.frame)


def real(shared, symbols, days):
    "A few securities around 2025-08-13, with the real news of those days"
    end = parse_instant("2025-08-15T00:00:00+00:00")
    raw = pd.read_parquet(
        shared / "ibkr_15min_101_2025.parquet", filters=[("symbol", "in", symbols)]
    )
    bars = bars_frame(raw)
    bars = bars[
        (bars.available_at > pd.Timestamp(end) - pd.Timedelta(days, unit="D"))
        & (bars.available_at < end)
    ]
    ids = {s: i for i, s in enumerate(sorted(raw.symbol.astype(str).unique()), 1)}
    news = pd.read_parquet(shared / "real_news_2025.parquet")
    at = pd.to_datetime(news.published_at, utc=True).astype("datetime64[us, UTC]")
    news = news.assign(published_at=at, received_at=at + pd.Timedelta("3min"))
    news = news[(at > pd.Timestamp("2025-08-12", tz="UTC")) & (at < pd.Timestamp(end))]
    names = news.symbols.map(lambda s: s.split(",") if isinstance(s, str) else list(s))
    return bars, news_of(news.assign(symbols=names, item_id=news.id), ids)


SYMBOLS = ["AAPL", "NVDA", "TSLA", "AMD", "MSFT", "AMZN"]


def test_val_twins_are_caught_on_real_bars(shared):
    bars, news = real(shared, SYMBOLS[:3], 4)
    check_twins(bars, news, instants_of(bars, session="2025-08-13")[1:2])


def test_val_the_real_chain_is_clean_on_real_bars_and_news(shared):
    bars, news = real(shared, SYMBOLS, 36)
    report = lookahead(
        pipeline(Config()),
        bars,
        news,
        instants_of(bars, session="2025-08-13")[1::2],
        membership=periods(bars),
    )
    assert report.status == 0, report.text()
    assert "leak" not in set(report.columns.verdict) and report.withheld["news"] > 0
    assert (report.columns[report.columns.frame == "plans"].verdict == "clean").any(), (
        "no plan was ever made: nothing is proved of plans"
    )


# A rule that does not look at the row


def judged(rule, bars, name="mine"):
    from catalyst.plans import Setup

    chain = pipeline(Config({"min_confidence": 0.0}), setups={name: Setup(name, (), rule)})
    return lookahead(chain, bars, None, instants_of(bars)[1:2])


AHEAD: dict[str, object] = {}  # Filled by a test: a frame behind a name of this module


@pytest.mark.parametrize("way", ["global", "closure", "default", "attribute", "called", "array"])
def test_val_a_rule_that_reaches_a_frame_cannot_be_judged(data, way):
    from functools import partial

    from catalyst.plans import Idea

    bars, _ = data
    frame, AHEAD["bars"] = bars, bars
    peek = lambda table, row: table.high.groupby(level=0).last().loc[row["security_id"]]
    buy = lambda row, top: Idea("long", row["close"], 0.5) if top > row["close"] else "no"

    class Rule:
        def __init__(self):
            self.table = frame

        def __call__(self, row, config):
            return buy(row, peek(self.table, row))

    def helper(row):
        return peek(frame, row)

    rules = {
        "global": lambda row, config: buy(row, peek(AHEAD["bars"], row)),
        "closure": lambda row, config: buy(row, peek(frame, row)),
        "default": lambda row, config, table=bars: buy(row, peek(table, row)),
        "attribute": Rule(),
        "called": lambda row, config: buy(row, helper(row)),
        "array": partial(lambda high, row, config: buy(row, high[-1]), bars.high.to_numpy()),
    }
    report = judged(rules[way], bars)
    assert len(report.leaks) == 0, "the experiment alone would call it clean"
    assert report.status == 1 and report.unjudgeable.column.tolist() == ["mine"]
    assert "UNJUDGEABLE rule mine can see" in report.text()
    assert ("ndarray" if way == "array" else "DataFrame") in report.text()


def test_val_a_rule_with_numbers_and_helpers_of_its_own_is_judged(data):
    from catalyst.plans import Idea

    bars, _ = data
    factor, table = 1.0, {"least": 0.0}
    helper = lambda row: row["close"] * factor + table["least"]
    assert judged(lambda row, config: Idea("long", helper(row), 0.5), bars).status == 0


def test_val_all_registered_setups_are_asked_those_that_are_off_too(data):
    from catalyst.plans import SETUPS

    bars, _ = data
    report = lookahead(pipeline(Config()), bars, None, instants_of(bars)[1:2])
    assert report.status == 0, report.text()
    answers = pipeline(Config())(bars, None, instants_of(bars)[1])["answers"]
    assert {"gap_fade", "sympathy_follower"} <= set(SETUPS) == set(answers.setup)


def test_val_a_setup_that_loses_to_a_better_one_is_compared_as_well(data, monkeypatch):
    "The rule peeks through a module that no walk can see into; its plan never wins"
    import builtins

    from catalyst.plans import Idea, Setup

    bars, _ = data
    seen = []
    best = Setup("a_best", (), lambda row, c: Idea("long", row["close"], 1.0))

    def weak(row, config):
        return Idea("long", row["close"] * (1 - 0.01 * (row["atr_14"] > builtins.limit)), 0.0)

    def run(b, n, t):
        builtins.limit = 0.0 if (b.available_at > t).any() else 1e9  # Knows that there is a future
        return chain(b, n, t)

    chain = pipeline(Config({"min_confidence": 0.0}), setups={"a_best": best, "weak": Setup("weak", (), weak)})  # fmt: skip
    run.rules = chain.rules
    monkeypatch.setattr(builtins, "limit", 0.0, raising=False)
    report = lookahead(run, bars, None, instants_of(bars)[1:2])
    assert ("answers", "entry_price") in set(zip(report.leaks.frame, report.leaks.column)), seen
    assert "plans" not in set(report.leaks.frame)


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"every": -5}, {"sessions": 0}, {"session": "foo"}]
)
def test_val_instants_that_cannot_be_meant_are_one_line(data, wrong):
    bars, _ = data
    with pytest.raises(InputError, match=f"{next(iter(wrong))}: received"):
        instants_of(bars, **wrong)
