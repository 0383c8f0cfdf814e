"News: hostile input, idempotence, as-of reads, and the difference between none and unknown."

import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from catalyst.core import InputError, UnavailableError
from catalyst.news import collect_news, import_news, read_news, read_stories
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
        item("a", headline="Acme opens a Boltwood plant", published=0, received=20, source="Blog"),
        item("b", headline="ACME opens Boltwood plant!", published=5, received=5),
        item("c", headline="Boltwood plant opens: Acme", published=5, received=5, source="Forbes"),
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
    assert {r["known_at"] for r in at_once} == {NOON, NOON + timedelta(minutes=5)}


STORED = """
select r.item_id, m.known_at, s.story_key from news_membership m join news_revisions r using (revision_id) join news_stories s using (story_id) order by 1, 2
"""


def told(store, asof):
    "Stories as of, without ids that the order of writing gives"
    got = read_stories(store, asof).drop(columns=["story_id"])
    return got.assign(security_ids=got.security_ids.map(len))


def saga(rng, n=60):
    "Items of a few stories that grow, meet and repeat over a week; some are received late"
    acts = ["to buy Widget Robotics for $3 billion", "opens Boltwood plant", "sues Quill Harbor over patents",
            "Boltwood plant opens; sues Quill Harbor over patents", "Transaction in own shares", "cuts 300 jobs"]  # fmt: skip
    rows = []
    for i in range(n):
        at = int(rng.integers(0, 7 * 1440))
        headline = f"{rng.choice(['Acme', 'Acme Corp', 'Zenith'])} {rng.choice(acts)}{rng.choice(['', '', ' - report', ' late'])}"
        rows.append(item(f"i{i % (n - 5)}", headline=headline, published=at, received=at + int(rng.choice([0, 0, 30, 3000])),
                         symbols=[str(rng.choice(["ACM", "WDG"]))], source=str(rng.choice(["Reuters", "Blog"]))))  # fmt: skip
    return feed_frame(*rows)


@pytest.mark.parametrize("seed", range(4 if os.environ.get("CATALYST_LONG") else 2))
def test_nw05_any_order_and_any_batching_gives_the_same_stories(scratch, seed):
    rng = np.random.default_rng(seed)
    rows = saga(rng)
    import_news(scratch, rows)
    memberships, links = scratch.rows(STORED), scratch.value("select count(*) from news_links")
    ends = [NOON + timedelta(days=d) for d in range(0, 11)]
    stories = [told(scratch, t) for t in ends]
    assert links and len({m["story_key"] for m in memberships}) < len(rows)
    assert len(memberships) > len({m["item_id"] for m in memberships}), "some stories merge"
    for _ in range(2):
        scratch.run("truncate news_sentiment, news_revisions, news_stories, news_sources cascade")
        order = rng.permutation(len(rows))
        for batch in np.array_split(order, int(rng.integers(1, 9))):
            import_news(scratch, rows.iloc[batch])
        assert scratch.rows(STORED) == memberships
        assert scratch.value("select count(*) from news_links") == links
        for t, was in zip(ends, stories, strict=True):
            pd.testing.assert_frame_equal(told(scratch, t), was)


def test_guard_18_stories_as_of_are_those_of_a_fresh_load(scratch):
    rows = saga(np.random.default_rng(9))
    import_news(scratch, rows)
    ends = [NOON + timedelta(hours=h) for h in range(0, 240, 20)]
    whole = [told(scratch, t) for t in ends]
    for t, was in zip(ends, whole, strict=True):
        scratch.run("truncate news_sentiment, news_revisions, news_stories, news_sources cascade")
        known = rows[rows.received_at <= t]
        if len(known):
            import_news(scratch, known)
        pd.testing.assert_frame_equal(told(scratch, t), was)
    assert len(whole[-1]) > len(whole[0]) >= 0


def test_guard_18_a_story_that_merges_later_is_two_before(scratch):
    rows = feed_frame(
        item("a", headline="Acme to buy Widget Robotics"),
        item("b", headline="Boltwood fund sells Quill Harbor stake", symbols=["BLT"]),
        item(
            "c",
            headline="Acme to buy Widget Robotics; Boltwood fund sells Quill Harbor stake",
            published=60,
        ),
    )
    import_news(scratch, rows)
    at = lambda m: NOON + timedelta(minutes=m)
    assert [len(read_stories(scratch, at(m))) for m in (-1, 0, 59, 60)] == [0, 2, 2, 1]
    assert [read_news(scratch, at(m)).story_id.nunique() for m in (59, 60)] == [2, 1]
    before, after = read_stories(scratch, at(59)), read_stories(scratch, at(60)).iloc[0]
    assert after.story_key in set(before.story_key) and after["items"] == 3
    assert after.known_at == NOON and after.last_received_at == at(60)
    assert len(after.security_ids) == 2
    assert len(read_stories(scratch, at(59), security_ids=after.security_ids[:1])) == 1
    assert read_stories(scratch, at(59), security_ids=[]).empty
    assert len(read_stories(scratch, at(60), since=at(59))) == 1
    assert read_stories(scratch, at(59), since=at(0)).empty


def test_a_revision_stays_in_its_story_and_counts_once(scratch):
    import_news(scratch, feed_frame(item(headline="Acme opens Boltwood plant")))
    import_news(
        scratch, feed_frame(item(headline="Correction: an entirely different thing", received=30))
    )
    stories = read_stories(scratch, NOON + timedelta(minutes=30))
    assert stories[["items", "sources", "independent"]].values.tolist() == [[1, 1, 1]]
    assert stories.headline.tolist() == ["Acme opens Boltwood plant"]
    news = read_news(scratch, NOON + timedelta(minutes=30))
    assert news.story_id.tolist() == stories.story_id.tolist()
    assert {"revision_id", "feed", "source_id", "item_id"} <= set(news.columns)


def test_nw05_copies_of_one_text_are_one_independent_source(scratch):
    same = [
        item(str(n), headline="Acme to cut 300 jobs in Ohio", source=f"Portal {n}", published=n)
        for n in range(5)
    ]
    import_news(
        scratch,
        feed_frame(
            *same,
            item(
                "x",
                headline="Acme slashes 300 Ohio jobs, union says",
                source="Reuters",
                published=9,
            ),
        ),
    )
    row = read_stories(scratch, NOON + timedelta(minutes=9)).iloc[0]
    assert (row["items"], row.sources, row.independent) == (6, 6, 2)
    assert (row.first_source, row.first_tier, row.best_tier) == ("Portal 0", 5, 1)


def test_a_story_that_a_signal_names_is_kept_when_an_older_item_takes_its_place(scratch):
    import_news(scratch, feed_frame(item("b", headline="Acme opens Boltwood plant", received=30)))
    old = read_stories(scratch, NOON + timedelta(hours=1)).story_id[0]
    import_news(scratch, feed_frame(item("a", headline="Acme opens Boltwood plant", received=10)))
    now = read_stories(scratch, NOON + timedelta(hours=1))
    assert (
        len(now) == 1 and now.story_id[0] != old and now.known_at[0] == NOON + timedelta(minutes=10)
    )
    assert scratch.value("select count(*) from news_stories") == 1, "nobody names the old one"


def test_nw06_nw08_news_of_an_unknown_security_is_read_in_order_of_receipt(scratch):
    "No join loses a security that was made a moment ago, and what decides the order is the receipt"
    import_news(
        scratch,
        feed_frame(
            item("a", ["NEWCO"], published=50, received=60),
            item("b", ["NEWCO"], headline="Other", published=55, received=56),
        ),
    )
    got = read_news(scratch, NOON + timedelta(hours=2))
    assert got.item_id.tolist() == ["b", "a"] and got.security_id.notna().all()


def replay_frame(shared, start, stop):
    d = pd.read_parquet(shared / "real_news_2025.parquet").rename(columns={"id": "item_id"})
    d = d[(d.published_at >= start) & (d.published_at < stop)].reset_index(drop=True)
    late = pd.to_timedelta(d.index % 7, "min")  # Received up to six minutes after it was published
    return d.assign(
        symbols=d.symbols.str.split(","),
        event_at=None,
        revised_at=None,
        received_at=d.published_at + late,
    )


def test_guard_18_a_real_day_slot_by_slot_is_a_fresh_load_at_each_slot(scratch, shared):
    "2025-08-13: what is collected every quarter of an hour gives the stories of a load of all items received by then"
    from catalyst.stories import link, memberships

    start, stop = (pd.Timestamp(t, tz="UTC") for t in ("2025-08-11", "2025-08-13 20:15"))
    rows = replay_frame(shared, start, stop)
    slots = pd.date_range("2025-08-13 13:30", "2025-08-13 20:00", freq="15min", tz="UTC")
    seen = pd.Timestamp("1990-01-01", tz="UTC")
    for slot in slots:
        import_news(
            scratch,
            rows[(rows.received_at > seen) & (rows.received_at <= slot)],
            asof=slot.to_pydatetime(),
        )
        seen = slot
    key = scratch.frame("select revision_id, item_id, content_hash from news_revisions")
    items = rows.merge(key, on="item_id").set_index("revision_id")
    for slot in slots:
        fresh = items[items.received_at <= slot]
        should = memberships(fresh, link(fresh)).groupby("revision_id").first_id.last()
        news = (
            read_news(scratch, slot.to_pydatetime())
            .drop_duplicates("revision_id")
            .set_index("revision_id")
        )
        assert set(news.index) == set(should.index)
        pairs = pd.DataFrame(
            {"is": news.story_id, "should": should.reindex(news.index)}
        ).drop_duplicates()
        assert pairs["is"].is_unique and pairs["should"].is_unique, slot
    assert len(news) > 1500 and pairs.shape[0] < 0.9 * len(news)


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


def test_the_real_feed_is_taken_whole_and_fast(scratch, shared):
    from catalyst.clock import Stopwatch

    d = (
        pd.read_parquet(shared / "real_news_2025.parquet")
        .rename(columns={"id": "item_id"})
        .head(6000)
    )
    d = d.assign(
        symbols=d.symbols.str.split(","), event_at=None, revised_at=None, received_at=d.published_at
    )
    watch = Stopwatch()
    tally = import_news(scratch, d)
    assert (tally.accepted + tally.repaired, tally.quarantined) == (6000, 0)
    assert watch.seconds < 20, "6,000 items take about 2 s; twenty allows for a busy machine"
