"Judging a batch of news: any text, any length, any number of rows; every row in exactly one count."

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from catalyst.items import (
    LONGEST_NAME,
    Seen,
    clean_symbols,
    clean_text,
    digest,
    judge_batch,
    tier_of,
    to_instants,
)
from catalyst.ports import NEWS_COLUMNS
from hypothesis import given, settings
from hypothesis import strategies as st

NOON = datetime(2025, 8, 13, 12, tzinfo=UTC)
ANY = st.one_of(
    st.sampled_from([None, pd.NA, pd.NaT, np.array(["ACM", 3]), {"a": 1}, NOON]),
    st.floats(),
    st.integers(),
    st.text(max_size=80),
    st.binary(max_size=9),
    st.lists(st.text(max_size=6), max_size=4),
)


def item(item_id="a", headline="Acme opens a plant", published_at=NOON, received_at=NOON, **other):
    row = dict(feed="wire", item_id=item_id, symbols=["ACM"], headline=headline, summary="", source="Reuters", url="",
               event_at=None, published_at=published_at, received_at=received_at, revised_at=None)  # fmt: skip
    return row | other


def feed_frame(*rows):
    return pd.DataFrame(list(rows), columns=NEWS_COLUMNS, dtype=object)


def test_mixed_and_textual_times():
    rows = feed_frame(
        item(published_at="2025-08-13T08:00:00-04:00", received_at="2025-08-13T12:00:00Z"),
        item("b", published_at="noon"),
        item("c", published_at=datetime.max.replace(tzinfo=UTC)),
    )
    items, v = judge_batch(rows)
    assert v.why.tolist() == ["", "unreadable published_at", "published_at outside of the calendar"]
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


@given(st.lists(st.tuples(ANY, ANY, ANY, ANY, ANY), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_guard_13_nw01_no_cell_stops_a_batch(cells):
    "Whatever stands in a cell, the row is judged, and what is usable can be stored"
    rows = [item(i, h, received_at=r, symbols=s, url=u) for i, h, s, u, r in cells]
    items, v = judge_batch(feed_frame(*rows))
    assert len(items) == len(v.why) == len(rows)
    good = items[v.why == ""]
    assert good.headline.str.contains(r"\S").all() and good.received_at.notna().all()
    for text in [*good.headline, *good.item_id, *good.url.dropna()]:
        text.encode("utf-8")
        assert "\x00" not in text
    assert (good.item_id.str.len().between(1, LONGEST_NAME)).all()


def test_nw02_no_length_is_too_long():
    url, headline = "https://x/" + "u" * 1_000_000, "Acme " * 200_000
    items, v = judge_batch(feed_frame(item(headline=headline, url=url)))
    assert v.why.tolist() == [""] and items.url[0] == url and items.headline[0] == headline


def test_guard_13_text_is_cleaned_of_nothing_but_what_cannot_be_stored():
    for c in map(
        chr, [*range(0x20, 0x7F), 9, 10, 13, *range(0xA0, 0x2000, 7), 0x202E, 0xFFFD, 0x1F680]
    ):
        assert clean_text(f"a{c}b") == f"a{c}b"
    for c in map(chr, [0, 1, 8, 11, 12, 14, 31, 127, 0x81, 0xD800, 0xDFFF]):
        assert clean_text(f"a{c}b") == "ab"


def test_nw09_clocks_with_and_without_zones_in_one_column():
    at, naive = to_instants(
        pd.Series(
            [NOON, NOON.replace(tzinfo=None), "2025-08-13T08:00:00-04:00", 5, b"x"], dtype=object
        )
    )
    assert naive.tolist() == [False, True, False, False, False]
    assert at[0] == at[2] == pd.Timestamp(NOON) and at[[1, 3, 4]].isna().all()


def test_nw05_an_item_without_id_is_the_same_item_the_next_time():
    frame = feed_frame(item(""), item("", headline="Acme shuts a plant"))
    ids = [judge_batch(frame)[0].item_id.tolist() for _ in range(2)]
    assert ids[0] == ids[1] and ids[0][0] != ids[0][1]
    assert digest("a", "bc") != digest("ab", "c")


def test_symbols_of_every_shape():
    assert clean_symbols(np.array(["WDG", "ACM"])) == (["ACM", "WDG"], False)
    assert clean_symbols(("NA", None, "")) == (["NA"], False)
    assert clean_symbols("<script>, ACM")[0] == ["ACM"]


def test_equal_rows_are_counted_and_others_are_not():
    url = "https://example.org/1"
    frame = feed_frame(
        item(url=url), item(url=url), item(url=url, symbols=["WDG"]), item(url=url + "x"), item("b")
    )
    seen = Seen()
    _, v = judge_batch(frame, seen=seen)
    assert v.repairs.tolist() == ["", "equal row", "", "another url of one item", ""]
    assert (len(seen.items), len(seen.pairs)) == (2, 3)
    assert judge_batch(frame[:1], seen=seen)[1].repairs.tolist() == ["equal row"]
    other = feed_frame(item(), item(published_at=NOON.replace(hour=11)))
    assert judge_batch(other)[1].repairs[1] == "another published_at of one item"
