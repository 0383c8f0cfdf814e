"Faults of clocks are found without being told, sound clocks are acquitted, and the past is not rewritten"

import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from catalyst.clockwork import AUDIT_COLUMNS, LOCAL, UNSURE, audit_clocks, run_audit
from catalyst.clockwork import shifted, suspended
from catalyst.core import InputError
from catalyst.news import import_news
from catalyst.ports import NEWS_COLUMNS
from catalyst.witness import planted


def faults(items, **more):
    t = audit_clocks(items, **more)
    return dict(zip(t.source, t.fault, strict=True))


@pytest.mark.parametrize("hours", [-11, -8, -6, -3, -1, 1, 2, 4, 5, 8, 12])
def test_nw09_a_constant_shift_is_found_to_the_hour(hours):
    t = audit_clocks(planted(late={"a": hours})).set_index("source")
    assert (
        t.fault["a"] == f"{abs(hours)} h {'late' if hours > 0 else 'early'}"
        and t.late_hours["a"] == hours
    )
    assert t.fault.drop("a").isna().all() and (t.confidence > 0.8).all()


@pytest.mark.parametrize(
    "span",
    [("2025-01-06", "2025-02-28"), ("2025-06-02", "2025-07-25"), ("2025-02-03", "2025-04-11")],
)
def test_nw09_local_time_labelled_utc_is_found_in_winter_in_summer_and_across(span):
    assert faults(planted(local=("b",), span=span)) == {"a": None, "b": LOCAL, "c": None}


def test_nw09_the_change_of_the_hour_tells_the_two_faults_apart():
    "Four hours early all year is not New York time; a fixed offset would take it for that"
    across = planted(late={"a": -4}, n=1500)
    assert faults(across)["a"] == "4 h early"
    t = audit_clocks(planted(local=("b",), late={"b": 8, "a": 8})).set_index("source")
    assert t.fault[["a", "b"]].tolist() == ["8 h late", LOCAL] and t.late_hours[
        ["a", "b"]
    ].tolist() == [8, 8]


def test_nw09_naive_stamps_and_a_missing_column_are_refused():
    items = planted(n=5)
    with pytest.raises(InputError, match="time zone"):
        audit_clocks(items.assign(published_at=items.published_at.dt.tz_localize(None)))
    with pytest.raises(InputError, match="headline is missing"):
        audit_clocks(items.drop(columns="headline"))


def test_nothing_is_said_of_little_and_nothing_comes_of_nothing():
    t = audit_clocks(planted(n=6, late={"a": 8}))
    assert (
        t.fault.isna().all()
        and t.confidence.isna().all()
        and t.evidence.str.contains("too little").all()
    )
    assert list(audit_clocks(planted(n=5)[:0]).columns) == AUDIT_COLUMNS


def test_retold_headlines_and_rubrics_accuse_nobody():
    "A rubric printed each morning by one house and each evening by another is no fault of a clock"
    items = planted(n=60)
    days = items.published_at.dt.normalize().drop_duplicates().sort_values()
    row = lambda s, d, h: [
        "wire",
        f"{s}{d}",
        [],
        "The day on the market in brief",
        "",
        s,
        "",
        None,
        d + pd.Timedelta(hours=h),
        d + pd.Timedelta("1D"),
        None,
    ]
    rubric = pd.DataFrame(
        [row(s, d, h) for d in days for s, h in (("a", 13), ("b", 21))], columns=NEWS_COLUMNS
    )
    assert faults(pd.concat([items, rubric], ignore_index=True)) == {
        "a": None,
        "b": None,
        "c": None,
    }


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1")
def test_sound_worlds_are_not_accused():
    assert not sum(audit_clocks(planted(n=300, seed=s)).fault.notna().sum() for s in range(25))


def test_the_same_items_in_any_order_give_the_same_audit():
    items = planted(local=("b",), late={"a": 8}, n=400)
    pd.testing.assert_frame_equal(
        audit_clocks(items), audit_clocks(items.sample(frac=1, random_state=1))
    )


def test_an_item_repeated_for_each_symbol_is_one_reading():
    items = planted(local=("b",), late={"a": 8}, n=400)
    pd.testing.assert_frame_equal(
        audit_clocks(items), audit_clocks(pd.concat([items] * 5, ignore_index=True))
    )


def test_results_hours_before_their_filings_show_an_early_clock():
    base = pd.Timestamp("2025-08-04 20:30", tz="UTC")
    at = [base + pd.Timedelta(days=i) for i in range(10)]
    filings = pd.DataFrame({"symbol": "ACM", "accepted_at": at, "items": "2.02,9.01"})
    row = lambda i, h: [
        "lone",
        str(i),
        ["ACM"],
        f"Acme reports results number {i}",
        "",
        "s",
        "",
        None,
        at[i] + pd.Timedelta(hours=h),
        at[i],
        None,
    ]
    early, right = (
        pd.DataFrame([row(i, h) for i in range(10)], columns=NEWS_COLUMNS) for h in (-5, 0.2)
    )
    assert faults(early, filings=filings) == {"s": "5 h early"} and faults(
        right, filings=filings
    ) == {"s": None}
    assert faults(early) == {"s": None}


def test_a_correction_is_a_copy_keeps_the_stated_and_never_passes_the_receipt():
    items, truth = planted(local=("b",), late={"a": 8}), planted()
    got = shifted(items, audit_clocks(items))
    assert ((got.published_at - truth.published_at).abs() <= pd.Timedelta("1min")).all()
    assert got.stated_at.equals(items.published_at) and got.received_at.equals(items.received_at)
    early = planted(late={"a": -6})
    tight = early.assign(received_at=early.published_at + pd.Timedelta("1h"))
    kept = shifted(tight, audit_clocks(tight))
    assert (
        kept.published_at.equals(tight.published_at)
        and (kept.published_at <= kept.received_at).all()
    )


def stored(items, delay="1h"):
    return items.assign(received_at=items[["published_at"]].max(axis=1) + pd.Timedelta(delay))


APRIL, MAY, JUNE = (datetime(2025, m, 20, tzinfo=UTC) for m in (4, 5, 6))


def test_guard_18_an_audit_is_known_from_its_instant_on_and_rewrites_nothing(scratch):
    import_news(scratch, stored(planted(late={"a": 8}, n=400)))
    before = scratch.rows("select * from news_revisions order by revision_id")
    assert suspended(scratch, APRIL) == set()
    run_audit(scratch, MAY)
    (bad,) = suspended(scratch, MAY)
    assert suspended(scratch, MAY - timedelta(seconds=1)) == set(), (
        "a verdict of May was used in April"
    )
    first = scratch.rows("select * from news_clock_audits order by source_id")
    run_audit(scratch, MAY)
    run_audit(scratch, JUNE)
    rows = scratch.rows(
        "select * from news_clock_audits where checked_at = :m order by source_id", m=MAY
    )
    assert rows == first and scratch.value("select count(*) from news_clock_audits") == 6
    assert scratch.rows("select * from news_revisions order by revision_id") == before
    assert (
        scratch.value("select clock_fault from news_sources where source_id = :i", i=bad)
        == "8 h late"
    )


def test_guard_18_an_audit_sees_nothing_received_later(scratch):
    items = stored(planted(late={"a": 8}, n=600))
    middle = pd.Timestamp("2025-03-20", tz="UTC").to_pydatetime()
    import_news(scratch, items[items.received_at <= middle])
    alone = run_audit(scratch, middle)
    scratch.run("delete from news_clock_audits")
    import_news(scratch, items)
    pd.testing.assert_frame_equal(run_audit(scratch, middle), alone)


def test_an_earlier_audit_run_later_leaves_what_is_shown_and_an_acquittal_lifts(scratch):
    import_news(scratch, stored(planted(late={"a": 8}, n=400)))
    run_audit(scratch, JUNE)
    run_audit(scratch, APRIL)
    shown = lambda: scratch.value("select clock_fault from news_sources where source_name = 'a'")
    assert shown() == "8 h late" and len(suspended(scratch, APRIL)) == 1
    later = planted(n=900, span=("2025-09-01", "2025-10-31"), seed=9)
    later = later.assign(headline=later.headline + " again", item_id="n" + later.item_id)
    import_news(scratch, stored(later))
    run_audit(scratch, datetime(2025, 11, 20, tzinfo=UTC), days=90)
    assert (
        shown() is None
        and suspended(scratch, datetime(2025, 11, 20, tzinfo=UTC)) == set()
        and len(suspended(scratch, JUNE)) == 1
    )


def test_silence_does_not_lift_a_suspension_and_no_news_is_no_audit(scratch):
    assert run_audit(scratch, APRIL).empty and suspended(scratch, APRIL) == set()
    items = stored(planted(late={"a": 8}, n=400))
    import_news(
        scratch,
        pd.concat(
            [
                items,
                stored(planted(n=4, span=("2026-01-05", "2026-01-09"))).assign(
                    item_id=lambda d: "z" + d.item_id
                ),
            ]
        ),
    )
    run_audit(scratch, MAY)
    quiet = run_audit(scratch, datetime(2026, 1, 20, tzinfo=UTC), days=30)
    assert (
        quiet.confidence.isna().all()
        and len(suspended(scratch, datetime(2026, 1, 20, tzinfo=UTC))) == 1
    )


def real(shared, stamp):
    "The four feeds as NEWS_COLUMNS; of stockbench the stamp called `stamp`"

    def frame(feed, ids, symbols, headline, source, at):
        told = {
            "feed": feed,
            "item_id": ids.astype(str),
            "symbols": symbols,
            "headline": headline,
            "summary": "",
            "source": source,
            "url": "",
            "event_at": None,
        }
        return pd.DataFrame(told | {"published_at": at, "received_at": at, "revised_at": None})[
            at.notna()
        ]

    s, f, n, t = (
        pd.read_parquet(shared / f"news/{x}.parquet")
        for x in (
            "stockbench_dow20_2025H1",
            "finviz_67_2025",
            "stocknewsapi_mag7_2025",
            "tradingview_10_2025",
        )
    )
    one = lambda c: c.map(lambda v: [v])
    split = t.headline.str.rsplit(" — ", n=1, expand=True)
    items = [
        frame(
            "stockbench", s.id, s.symbols.str.split(","), s.headline, s.source.fillna("?"), s[stamp]
        ),
        frame("finviz", pd.Series(f.index), one(f.symbol), f.headline, "finviz", f.ts),
        frame(
            "stocknewsapi",
            n.news_url,
            n.tickers.astype(str).str.split(","),
            n.title,
            n.source_name,
            n.ts,
        ),
        frame(
            "tradingview",
            t.storyPath,
            one(t.symbol),
            split[0],
            split[1].fillna("tradingview"),
            t.ts,
        ),
    ]
    items = pd.concat(items, ignore_index=True)
    return items[items.published_at > pd.Timestamp("2024-12-01", tz="UTC")]


def filings(shared):
    f = pd.read_csv(shared / "edgar_8k_to_2025.csv", keep_default_na=False)
    at = pd.to_datetime(f.acceptance_raw, utc=True, format="ISO8601")
    return f.assign(accepted_at=at)[at > pd.Timestamp("2024-12-01", tz="UTC")][
        ["symbol", "accepted_at", "items"]
    ]


def test_nw09_both_faults_of_the_real_feed_are_found_without_being_told(shared):
    t = audit_clocks(real(shared, "published_utc_raw"), filings(shared)).set_index(
        ["feed", "source"]
    )
    s = t.loc["stockbench"]
    assert s.fault["Yahoo"] == "8 h late" and s.confidence["Yahoo"] > 0.9
    for source in ("MarketWatch", "SeekingAlpha", "DowJones", "Finnhub"):
        assert (s.fault[source], s.late_hours[source]) == (LOCAL, 8), source
    assert t.drop("stockbench").fault.isna().all()
    assert t.fault.loc["finviz"].isna().all() and t.confidence["finviz", "finviz"] > 0.9


def test_nw09_no_fault_is_seen_in_sound_feeds_whole_or_halved(shared):
    items, told = real(shared, "ts_fixed"), 0
    day = items.published_at.dt.tz_convert("America/New_York").dt.date
    for seed in range(2):
        days = np.random.default_rng(seed).permutation(sorted(set(day)))
        half = day.isin(set(days[: len(days) // 2]))
        for part in (items, items[half], items[~half]):
            t = audit_clocks(part, filings(shared))
            told += int(t.confidence.notna().sum())
            assert t.fault.isna().all(), t[t.fault.notna()][
                ["source", "fault", "evidence"]
            ].to_dict("records")
    assert told > 50


def test_nw09_a_sound_feed_labelled_wrongly_is_found(shared):
    items = real(shared, "ts_fixed")
    wall = (
        items.published_at.dt.tz_convert("America/New_York")
        .dt.tz_localize(None)
        .dt.tz_localize("UTC")
    )
    t = audit_clocks(
        items.assign(published_at=items.published_at.where(items.feed != "finviz", wall))
    ).set_index(["feed", "source"])
    assert t.fault["finviz", "finviz"] == LOCAL and t.fault.drop("finviz").isna().all()


def test_the_correction_repairs_the_real_feed(shared):
    items = real(shared, "published_utc_raw").assign(
        received_at=pd.Timestamp("2026-01-01", tz="UTC")
    )
    truth = real(shared, "ts_fixed")
    got = shifted(items, audit_clocks(items))
    own = got.source.isin(["Yahoo", "MarketWatch", "SeekingAlpha", "DowJones"])
    assert (got.published_at[own] == truth.published_at[own]).mean() > 0.99


def test_seasons_that_contradict_the_hours_leave_a_doubt_and_no_verdict():
    "Two clocks without reprints: one stands still in UTC, four hours early, where the hours see nothing"
    items = planted(local=("b",), n=5000, span=("2025-01-06", "2025-06-30"), seed=5)
    alone = items[items.source == "b"]
    ahead = alone.assign(published_at=alone.published_at + pd.Timedelta("5h"))
    t = audit_clocks(ahead).iloc[0]
    assert t.fault == UNSURE and np.isnan(t.confidence) and np.isnan(t.late_hours)
    assert "the seasons contradict the hours" in t.evidence
    assert audit_clocks(items[items.source == "a"]).fault.isna().all()


def test_an_amount_that_only_the_hours_tell_is_a_range_and_corrects_nothing():
    late = planted(late={"a": 8}, n=1500)
    alone = late[late.source == "a"]
    t = audit_clocks(alone)
    low, high = map(int, t.fault[0].removesuffix(" h late").split(" to "))
    assert low <= 8 <= high and low < high and np.isnan(t.late_hours[0])
    assert shifted(alone, t).published_at.equals(alone.published_at)


def test_a_doubt_does_not_lift_a_suspension(scratch):
    import_news(scratch, stored(planted(late={"a": 8}, n=400)))
    run_audit(scratch, MAY)
    (bad,) = suspended(scratch, MAY)
    scratch.run(
        "insert into news_clock_audits (source_id, checked_at, items, pairs, fault, evidence) values (:i, :t, 9, 0, :f, 'made up')",
        i=bad, t=JUNE, f=UNSURE,
    )  # fmt: skip
    assert suspended(scratch, JUNE) == {bad}


def test_the_window_may_lose_a_season_and_the_verdict_stays(shared):
    items = real(shared, "published_utc_raw")
    end = pd.Timestamp("2025-12-31T22:00Z")
    old = items.published_at <= end - pd.Timedelta("180D")
    t = audit_clocks(items[~old], past=items[old]).set_index(["feed", "source"]).loc["stockbench"]
    for source in ("MarketWatch", "DowJones", "Finnhub"):
        assert (t.fault[source], t.late_hours[source]) == (LOCAL, 8), source
    assert (
        audit_clocks(items[~old]).set_index(["feed", "source"]).fault["stockbench", "MarketWatch"]
        != LOCAL
    )


def test_one_real_feed_alone_tells_a_range_and_its_doubts(shared):
    items = real(shared, "published_utc_raw")
    s = audit_clocks(items[items.feed == "stockbench"]).set_index("source")
    assert s.fault["MarketWatch"] == f"{LOCAL}, 8 to 10 h late"
    assert s.fault["SeekingAlpha"] == f"8 to 10 h late, {UNSURE}" and s.late_hours.isna().all()
    late = real(shared, "ts")
    t = audit_clocks(late[late.feed == "stockbench"]).set_index("source")
    assert t.fault["MarketWatch"] == t.fault["DowJones"] == UNSURE
    assert t.confidence[["MarketWatch", "DowJones"]].isna().all()
