"News: hostile input, idempotence, as-of reads, and the difference between none and unknown."

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from catalyst.core import InputError, UnavailableError
from catalyst.news import collect_news, import_news, judge_batch, read_news, story_key, tier_of
from catalyst.ports import NEWS_COLUMNS

NOON = datetime(2025, 8, 13, 12, tzinfo=UTC)
TABLES = "news_sources news_stories news_revisions news_sentiment securities time_dimension quarantine service_health"


def item(
    item_id="a",
    symbols=("ACM",),
    headline="Acme opens a plant",
    published=0,
    received=None,
    **other,
):
    "One row of a feed; times are minutes after noon"
    at = lambda m: pd.Timestamp(NOON) + pd.Timedelta(minutes=m)
    row = dict(
        feed="wire",
        item_id=item_id,
        symbols=symbols if isinstance(symbols, float) else list(symbols),
        headline=headline,
        summary="",
        source="Reuters",
        url="",
    )
    row |= dict(
        event_at=None,
        published_at=at(published),
        received_at=at(published if received is None else received),
        revised_at=None,
    )
    return row | other


def feed_frame(*rows, dtype=None):
    return pd.DataFrame(list(rows), columns=NEWS_COLUMNS, dtype=dtype)


def counts(store):
    return {t: store.value(f"select count(*) from {t}") for t in TABLES.split()}


class Wire:
    name, simulated = "wire", True

    def __init__(self, answer):
        self.answer = answer

    def news(self, start, asof):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


HOSTILE = {
    "script": "<script>alert('x')</script> Acme & Sons &lt;b&gt;",
    "long": "Acme " * 20_000,
    "emoji": "Acme to the moon 🚀🚀 👩‍🚀",
    "right to left": "‮‫אקמי‬ opens",
    "sql": "Robert'); drop table news_sentiment; --",
    "copy": 'a "quoted", comma \\N \\. line\nbreak\ttab',
    "chinese": "艾克美公司開設工廠",
    "only punctuation": "?!… — !!!",
    "percent and colon": "100% :asof %s {0}",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_db02_guard_13_hostile_headlines_are_stored_whole(scratch, kind):
    headline = HOSTILE[kind]
    tally = import_news(
        scratch,
        feed_frame(item(headline=headline, summary=headline * 2, url="https://x/" + "u" * 9000)),
    )
    assert (tally.accepted, tally.repaired, tally.quarantined) == (1, 0, 0)
    row = scratch.rows(
        "select n.headline, r.headline as kept, r.summary, length(r.url) as url from news_sentiment n join news_revisions r using (revision_id)"
    )
    assert row == [{"headline": headline, "kept": headline, "summary": headline * 2, "url": 9010}]
    assert read_news(scratch, NOON).headline.tolist() == [headline]


def test_guard_13_control_characters_are_repaired_and_counted(scratch):
    rows = [
        item(headline="Ac\x00me\x1b opens\ud800"),
        item("b", headline="Acme\x92s plant"),
        item("c", headline="\x00\ud800", url="\x00"),
    ]
    tally = import_news(scratch, feed_frame(*rows, dtype=object))
    assert (tally.repaired, tally.quarantined) == (2, 1)
    assert dict(tally.reasons) == {"control characters": 2, "no headline": 1}
    assert sorted(read_news(scratch, NOON).headline) == ["Acme opens", "Acme’s plant"]


def test_guard_13_every_row_is_in_exactly_one_count(scratch):
    rows = feed_frame(
        item(),
        item("b", headline=None),
        item("c", headline=" \x00 "),
        item("d", published_at=datetime(2025, 8, 13, 12)),
        item("e", published_at=None),
        item("f", published=10, received=0),
        item("g", received_at=None),
        item("h", published_at=pd.Timestamp("1971-01-01", tz="UTC")),
        item("i", feed=None),
        item("j", symbols=["ACM", "<script>", "x" * 30]),
        item("k", event_at="last week"),
        item("", symbols=[]),
        item("m" * 5000, source="s" * 5000),
        item("n", received=90),
    )
    tally = import_news(scratch, rows, asof=NOON + timedelta(minutes=60))
    assert tally.accepted + tally.repaired + tally.quarantined == len(rows)
    assert (tally.accepted, tally.repaired, tally.quarantined) == (1, 4, 9)
    assert dict(tally.reasons) == {
        "no headline": 2,
        "published_at without time zone": 1,
        "no published_at": 1,
        "received before published": 1,
        "no received_at": 1,
        "published_at outside of the calendar": 1,
        "no usable feed name": 1,
        "received after asof": 1,
        "unusable symbol": 1,
        "unreadable event_at": 1,
        "no item_id": 1,
        "long item_id": 1,
        "long source": 1,
    }
    assert scratch.value("select count(*) from quarantine where kind = 'news'") == 9
    assert scratch.value("select count(*) from news_revisions") == 5


def test_guard_13_symbols_that_look_like_nothing_survive(scratch):
    import_news(
        scratch,
        feed_frame(
            item(symbols=["NA"]),
            item("b", symbols=["NAN", "TRUE"]),
            item("c", symbols=[]),
            item("d", symbols=float("nan")),
        ),
    )
    got = scratch.rows(
        "select symbol, count(*) as n from news_sentiment left join securities using (security_id) group by 1 order by 1"
    )
    assert got == [
        {"symbol": "NA", "n": 1},
        {"symbol": "NAN", "n": 1},
        {"symbol": "TRUE", "n": 1},
        {"symbol": None, "n": 2},
    ]
    assert read_news(scratch, NOON).security_id.isna().sum() == 2


def test_second_import_changes_nothing(scratch):
    rows = feed_frame(
        item(symbols=["ACM", "WDG"]),
        item("b", symbols=[], summary="S"),
        item("b", symbols=[], summary="T", published=0, received=5),
        item("c", headline=""),
    )
    first, before = import_news(scratch, rows), counts(scratch)
    state = (
        scratch.rows("select * from news_stories order by 1"),
        scratch.rows("select * from news_revisions order by 1"),
    )
    again = import_news(scratch, rows.iloc[::-1])
    assert (again.as_dict(), counts(scratch)) == (first.as_dict(), before)
    assert state == (
        scratch.rows("select * from news_stories order by 1"),
        scratch.rows("select * from news_revisions order by 1"),
    )
    assert before["news_sentiment"] == 4 and before["quarantine"] == 1


def test_guard_18_items_received_later_never_show(scratch):
    rows = [
        item(str(m), headline=f"Acme opens plant {m}", published=m, received=m + 10)
        for m in range(0, 60, 5)
    ]
    import_news(scratch, feed_frame(*rows))
    for m in range(0, 75, 5):
        asof = NOON + timedelta(minutes=m)
        got = read_news(scratch, asof)
        assert (got.received_at <= asof).all() and len(got) == sum(
            r["received_at"] <= asof for r in rows
        )


def test_guard_18_a_revision_shows_from_its_receipt_and_replaces_the_old(scratch):
    import_news(scratch, feed_frame(item(headline="Acme opens plant")))
    import_news(scratch, feed_frame(item(headline="Acme opens plant, corrected", received=30)))
    told = [
        read_news(scratch, NOON + timedelta(minutes=m)).headline.tolist() for m in (0, 29, 30, 31)
    ]
    assert told == [["Acme opens plant"]] * 2 + [["Acme opens plant, corrected"]] * 2
    revised = scratch.rows(
        "select revised_at, received_at from news_revisions order by received_at"
    )
    assert revised[0]["revised_at"] is None and revised[1]["revised_at"] == revised[1][
        "received_at"
    ] == NOON + timedelta(minutes=30)
    late = read_news(scratch, NOON + timedelta(minutes=40), since=NOON + timedelta(minutes=10))
    assert late.headline.tolist() == ["Acme opens plant, corrected"]


def test_guard_18_a_ticker_added_later_is_not_known_before(scratch):
    import_news(scratch, feed_frame(item(symbols=["ACM"])))
    import_news(scratch, feed_frame(item(symbols=["ACM", "WDG"], received=30)))
    ids = {
        r["symbol"]: r["security_id"]
        for r in scratch.rows(
            "select symbol, security_id from securities where symbol in ('ACM', 'WDG')"
        )
    }
    wdg = lambda m: len(read_news(scratch, NOON + timedelta(minutes=m), security_ids=[ids["WDG"]]))
    assert (wdg(29), wdg(30)) == (0, 1)
    assert len(read_news(scratch, NOON, security_ids=[ids["ACM"]])) == 1
    assert len(read_news(scratch, NOON, security_ids=[])) == 0


def test_stories_do_not_depend_on_the_order_of_arrival(scratch):
    rows = feed_frame(
        item("a", headline="Acme opens a plant", published=0, received=20, source="Blog"),
        item("b", headline="ACME opens plant!", published=5, received=5),
        item("c", headline="Plant opens: Acme", published=5, received=5, source="Forbes"),
        item("d", headline="Widget shuts a plant"),
    )
    query = "select story_key, s.headline, source_name, first_published_at, known_at from news_stories s join news_sources on source_id = first_source_id order by 1"
    import_news(scratch, rows)
    at_once = scratch.rows(query)
    scratch.run("truncate news_sentiment, news_revisions, news_stories, news_sources cascade")
    for i in (0, 3, 2, 1):
        import_news(scratch, rows.iloc[[i]])
    assert scratch.rows(query) == at_once
    assert len(at_once) == 2
    assert at_once[0]["known_at"] <= NOON + timedelta(minutes=5)


def test_a_news_day_turns_at_eight_in_the_evening():
    before, after = (datetime(2025, 8, 13, h, 59, tzinfo=UTC) for h in (22, 23))
    evening = after + timedelta(minutes=1)
    assert story_key("Acme opens", before) == story_key("Acme opens", after)
    assert story_key("Acme opens", after) != story_key("Acme opens", evening)
    assert story_key("Acme opens", evening).startswith("2025-08-14")


def test_guard_12_a_batch_of_which_nothing_survives_raises_and_keeps_the_evidence(scratch):
    with pytest.raises(InputError, match="all 2 rows were refused"):
        import_news(scratch, feed_frame(item(headline=""), item("b", published_at=None)))
    assert scratch.value("select count(*) from quarantine") == 2
    assert scratch.value("select count(*) from news_revisions") == 0


def test_guard_12_unavailable_is_not_empty(scratch):
    health = lambda: scratch.rows(
        "select status, last_check, last_output_at, error_message from service_health where service_name = 'news'"
    )[0]
    later = NOON + timedelta(minutes=15)
    assert (
        collect_news(scratch, Wire(feed_frame(item())), NOON - timedelta(days=1), NOON).accepted
        == 1
    )
    assert health() == {
        "status": "healthy",
        "last_check": NOON,
        "last_output_at": NOON,
        "error_message": None,
    }
    assert collect_news(scratch, Wire(feed_frame()), NOON, later).as_dict()["accepted"] == 0
    assert health() == {
        "status": "healthy",
        "last_check": later,
        "last_output_at": NOON,
        "error_message": None,
    }
    for answer in (UnavailableError("no route to https://ann:sesame99@wire"), None):
        with pytest.raises(UnavailableError):
            collect_news(scratch, Wire(answer), NOON, later)
        assert health()["status"] == "degraded" and health()["last_output_at"] == NOON
        assert health()["error_message"] and "sesame99" not in health()["error_message"]
    with pytest.raises(InputError):
        collect_news(scratch, Wire(feed_frame(item(headline=""))), NOON, later)
    assert health()["status"] == "degraded" and "refused" in health()["error_message"]


def test_nothing_is_half_written(scratch, monkeypatch):
    before = counts(scratch)
    monkeypatch.setattr("catalyst.news._attach", lambda tx, items: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_news(scratch, feed_frame(item(), item("b", headline="")))
    assert counts(scratch) == before


def test_a_missing_column_is_one_line():
    with pytest.raises(InputError, match="published_at is missing") as e:
        import_news(None, feed_frame(item()).drop(columns="published_at"))
    assert "\n" not in str(e.value)


def test_mixed_and_textual_times():
    rows = feed_frame(
        item(published_at="2025-08-13T08:00:00-04:00", received_at="2025-08-13T12:00:00Z"),
        item("b", published_at="noon"),
        item("c", published_at=datetime.max.replace(tzinfo=UTC)),
    )
    items, v = judge_batch(rows)
    assert v.why.tolist() == ["", "no published_at", "published_at outside of the calendar"]
    assert items.published_at[0] == pd.Timestamp(NOON)


@pytest.mark.parametrize(
    "source, tier",
    [
        ("Reuters", 1),
        ("Dow Jones Newswires", 1),
        ("Barron's", 2),
        ("CNBC Television", 2),
        ("Yahoo", 3),
        ("TipRanks", 4),
        ("Apex Daily", 5),
        ("", 5),
    ],
)
def test_tiers(source, tier):
    assert tier_of(source) == tier


def test_the_real_feed_is_taken_whole_and_fast(scratch, shared):
    from catalyst.clock import Stopwatch

    d = (
        pd.read_parquet(shared / "real_news_2025.parquet")
        .rename(columns={"id": "item_id"})
        .head(1600)
    )
    d = d.assign(
        symbols=d.symbols.str.split(","), event_at=None, revised_at=None, received_at=d.published_at
    )
    watch = Stopwatch()
    tally = import_news(scratch, d)
    assert (tally.accepted + tally.repaired, tally.quarantined) == (1600, 0)
    assert watch.seconds < 8, "1,600 items take about 0.4 s; eight allows for a busy machine"
