"Files of news: every line is accounted for, memory is bounded, and nothing is guessed about time"

import os
import gzip
import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from catalyst.core import InputError, Tally, UnavailableError
from catalyst.items import judge_batch
from catalyst.lines import LONGEST, Unreadable, csv_records
from catalyst.news import import_news
from catalyst.newsfiles import NewsFile, map_columns
from catalyst.ports import NEWS_COLUMNS

ROWS = [
    {
        "id": f"i{i}",
        "title": f"Acme opens plant {i}",
        "published_at": f"2025-08-13T12:{i:02d}:00Z",
        "tickers": "NA,ACM",
    }
    for i in range(10)
]
NOON = datetime(2025, 8, 13, 12, tzinfo=UTC)


def save(tmp_path, kind, rows=ROWS, name="n"):
    path, frame = tmp_path / f"{name}.{kind}", pd.DataFrame(rows)
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind.startswith("csv"):
        frame.to_csv(path, index=False)
    else:
        text = "".join(json.dumps(r) + "\n" for r in rows)
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    return path


def write(tmp_path, text, name="n.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def whole(path, **options):
    file = NewsFile(path, **options)
    return file, pd.concat(list(file.frames()), ignore_index=True)


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz"])
def test_every_kind_gives_the_same_rows(tmp_path, kind):
    file, got = whole(save(tmp_path, kind), chunk_rows=3)
    assert list(got.columns) == NEWS_COLUMNS and file.rows == 10
    assert got.symbols.tolist() == [["NA", "ACM"]] * 10
    assert got.headline.tolist() == [r["title"] for r in ROWS]
    assert (
        pd.to_datetime(got.received_at, utc=True)
        == pd.to_datetime([r["published_at"] for r in ROWS])
    ).all()
    assert len(file.news(NOON, NOON + timedelta(minutes=4))) == 4
    assert judge_batch(got)[1].why.eq("").all()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_mapping_and_a_delay(tmp_path, kind):
    rows = [{"what": r["title"], "when": r["published_at"], "title": "not this"} for r in ROWS]
    told = dict(columns="headline=what,published_at=when", delay_seconds=90)
    _, got = whole(save(tmp_path, kind, rows), **told)
    assert got.headline[0] == ROWS[0]["title"] and got.received_at[0] == NOON + timedelta(
        seconds=90
    )


def test_our_name_wins_over_an_alias_and_an_earlier_alias_over_a_later():
    found = ["ts", "date", "Published_At", "headline", "title"]
    told = map_columns(found, {}, "x")
    assert told == {"published_at": "Published_At", "headline": "headline"}
    assert map_columns(["title", "ts", "date"], {}, "x")["published_at"] == "date"


@pytest.mark.parametrize(
    "name, body, says",
    [
        ("n.csv", b"", "no column for"),
        ("n.csv", b"title,date\n", "has no rows"),
        ("n.csv", b"a,b\n1,2\n", "no column for headline, published_at; found: a, b"),
        ("n.parquet", b"PAR1 and then nothing", "cannot be read"),
        ("n.parquet", b"title,date\n", "not a Parquet file"),
        ("n.json", b'[{"title": "x"}]', "one record per line"),
        (
            "n.csv.gz",
            gzip.compress(b"title,date\n" + b"Acme,2025-08-13T12:00:00Z\n" * 9, mtime=0)[:-12],
            "cannot be read",
        ),
        ("n.csv.gz", b"\x1f\x8b not gzip", "cannot be read"),
        ("n.csv", b"title,date\nAcme,2025-08-13 12:00\n", "--tz America/New_York"),
    ],
)
def test_one_line_for_a_file_of_no_use(tmp_path, name, body, says):
    path = write(tmp_path, body, name)
    with pytest.raises(InputError) as e:
        list(NewsFile(path).frames())
    assert says in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 500
    with pytest.raises(UnavailableError):
        NewsFile(path).news(NOON, NOON)


@pytest.mark.parametrize(
    "options",
    [
        dict(columns="titel=x"),
        dict(columns="headline"),
        dict(zone="New York"),
        dict(delay_seconds=-1),
    ],
)
def test_options_that_cannot_be_meant(tmp_path, options):
    with pytest.raises(InputError):
        NewsFile(tmp_path / "n.csv", **options)


DIRTY = """id,title,date,tickers
1,Acme opens,2025-08-13T12:00:00Z,ACM
2,"never closed,2025-08-13T12:00:00Z,ACM
3,Acme shuts,2025-08-13T12:00:00Z,ACM,extra
4,short
5,"two
lines",2025-08-13T12:00:00Z,TRUE
6,Acme naive,2025-08-13T12:00:00,ACM
7,Acme when,yesterday,ACM
8,,2025-08-13T12:00:00Z,ACM

9,"Acme ""quotes"" it",2025-08-13T12:00:00Z,
"""


def test_guard_13_every_line_is_stored_or_put_aside(tmp_path, scratch):
    file, got = whole(write(tmp_path, DIRTY), chunk_rows=4)
    tally = import_news(scratch, got)
    assert file.rows == 9 == tally.accepted + tally.repaired + tally.quarantined
    assert file.unreadable == 3 and file.undated == 5
    assert tally.reasons["published_at without time zone"] == 1
    assert (tally.reasons["unreadable line"], tally.reasons["no headline"]) == (3, 1)
    assert tally.reasons["unreadable published_at"] == 1
    stored = scratch.frame("select item_id, headline from news_revisions order by item_id")
    assert stored.item_id.tolist() == ["1", "5", "9"]
    assert stored.headline[1] == "two\nlines"
    kept = " ".join(scratch.frame("select row_text from quarantine").row_text)
    assert all(
        text in kept for text in ("never closed", "Acme shuts", "4,short", "yesterday", "line 3")
    )


def test_guard_13_lines_of_json_that_are_none(tmp_path):
    lines = [
        json.dumps(ROWS[0]),
        "{cut",
        "[1]",
        "null",
        '{"id": 1}',
        json.dumps(ROWS[1] | {"new": 1}),
    ]
    file, got = whole(write(tmp_path, "\n".join(lines), "n.jsonl"))
    assert (file.rows, file.unreadable) == (6, 3)
    why = judge_batch(got)[1].why
    assert why.eq("").sum() == 2 and why.eq("unreadable line").sum() == 3
    assert why.eq("no headline").sum() == 1


def test_a_quote_that_is_never_closed_swallows_nothing():
    lines = ["a,b\n", '1,"open\n', *(f"{i},x\n" for i in range(2000))]
    got = list(csv_records(lines))
    assert [r for r in got if isinstance(r, Unreadable)] == [Unreadable(2, '1,"open\n')]
    assert len(got) == 2002 and got[-1] == ["1999", "x"]


def test_odd_text_is_kept(tmp_path):
    text = "id,title,date\n1,Acme \x00 \u05e9\u05dc\u05d5\u05dd 🚀 <script>,2025-08-13T12:00:00Z\n".encode()
    text += (
        b"2,Acme \xff\xfe,2025-08-13T12:00:00Z\n3," + b"x" * 2_000_000 + b",2025-08-13T12:00:00Z\n"
    )
    file, got = whole(write(tmp_path, text))
    items, verdicts = judge_batch(got)
    assert verdicts.why.eq("").all() and verdicts.repairs[1]
    assert (
        items.headline[0] == "Acme  \u05e9\u05dc\u05d5\u05dd 🚀 <script>"
        and items.headline[1] == "Acme "
    )
    assert len(items.headline[2]) == 2_000_000


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_codings_and_separators(tmp_path, coding, mark):
    text = f"title{mark}date\nAcmé{mark}2025-08-13T12:00:00Z\n"
    _, got = whole(write(tmp_path, text.encode(coding)))
    assert got.headline.tolist() == ["Acmé"]


def test_a_zone_is_for_naive_stamps_only_and_the_later_hour_is_taken(tmp_path):
    stamps = [
        "2025-08-13 08:00",
        "2025-08-13T12:00:00Z",
        "Wed, 13 Aug 2025 08:00:00 -0400",
        "2025-11-02 01:30",
        "2025-03-09 02:30",
    ]
    rows = [{"title": f"Acme {i}", "published_at": s} for i, s in enumerate(stamps)]
    _, got = whole(save(tmp_path, "csv", rows), zone="America/New_York")
    at = pd.to_datetime(got.published_at, utc=True)
    assert (at[:3] == NOON).all()
    assert at[3] == datetime(2025, 11, 2, 6, 30, tzinfo=UTC) and at[4] == datetime(
        2025, 3, 9, 7, tzinfo=UTC
    )


def test_naive_stamps_of_parquet(tmp_path):
    rows = [{"title": "Acme", "published_at": pd.Timestamp("2025-08-13 08:00")}]
    path = save(tmp_path, "parquet", rows)
    with pytest.raises(InputError, match="--tz"):
        list(NewsFile(path).frames())
    assert whole(path, zone="America/New_York")[1].published_at[0] == NOON


def test_receipt_as_stated_or_assumed(tmp_path):
    rows = [
        {
            "title": "Acme 0",
            "published_at": "2025-08-13T12:00:00Z",
            "received_at": "2025-08-13T12:07:00Z",
            "revised_at": "",
        },
        {
            "title": "Acme 1",
            "published_at": "2025-08-13T12:00:00Z",
            "received_at": "",
            "revised_at": "2025-08-13T13:00:00Z",
        },
        {
            "title": "Acme 2",
            "published_at": "2025-08-13T12:00:00Z",
            "received_at": "later",
            "revised_at": "",
        },
    ]
    _, got = whole(save(tmp_path, "csv", rows), delay_seconds=60)
    assert got.received_at[0] == NOON + timedelta(minutes=7) and got.received_at[
        1
    ] == NOON + timedelta(minutes=61)
    assert judge_batch(got)[1].why.tolist() == ["", "", "unreadable received_at"]


def test_a_source_that_is_not_given_is_taken_from_the_address_by_the_judge(tmp_path):
    from catalyst.items import judge_batch

    rows = [
        {"title": "A", "published_at": "2025-08-13T12:00:00Z", "url": u}
        for u in ("https://www.example.org/x", "http://[", "")
    ]
    frame = whole(save(tmp_path, "csv", rows))[1]
    assert frame.source.tolist() == ["", "", ""]
    assert judge_batch(frame)[0].source.tolist() == ["example.org", *frame.feed[1:]]


def test_the_future_changes_nothing(tmp_path):
    asof = NOON + timedelta(minutes=4)
    first = NewsFile(save(tmp_path, "csv")).news(NOON - timedelta(days=1), asof)
    later = [r | ({"title": "ALTERED"} if i > 4 else {}) for i, r in enumerate(ROWS)] + [
        ROWS[9] | {"id": "new"}
    ]
    second = NewsFile(save(tmp_path, "csv", later)).news(NOON - timedelta(days=1), asof)
    pd.testing.assert_frame_equal(first, second)
    assert len(first) == 5 and (first.received_at <= asof).all()


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1")
def test_memory_does_not_grow_with_the_file(tmp_path):
    import tracemalloc

    path, peaks = tmp_path / "big.csv", []
    for rows in (6_000, 36_000):
        with path.open("w") as f:
            f.write("title,date\n")
            f.writelines(f"Acme {i} {'x' * 200},2025-08-13T12:00:00Z\n" for i in range(rows))
        tracemalloc.start()
        assert sum(len(piece) for piece in NewsFile(path, chunk_rows=2000).frames()) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5


def test_a_line_without_an_end_is_read_in_parts(tmp_path, monkeypatch):
    assert LONGEST == 10_000_000
    monkeypatch.setattr("catalyst.lines.LONGEST", 1000)
    path = write(tmp_path, "title,date\n" + "x" * 5000 + "\nAcme,2025-08-13T12:00:00Z\n")
    file, got = whole(path)
    assert got.headline.tolist()[-1] == "Acme" and file.unreadable == file.rows - 1 >= 5


FILES = {
    "news/finviz_67_2025.parquet": ({}, 8930, 0),
    "news/stockbench_dow20_2025H1.parquet": (
        dict(columns="published_at=published_utc_raw"),
        4820,
        245,
    ),
    "news/stocknewsapi_mag7_2025.parquet": ({}, 3296, 0),
    "news/tradingview_10_2025.parquet": ({}, 5032, 0),
    "real_news_2025.parquet": ({}, 18349, 0),
    "edgar_8k_to_2025.csv": ({}, 9807, 0),
}


@pytest.mark.parametrize("name", FILES)
def test_the_real_files(shared, name):
    options, rows, undated = FILES[name]
    file, got = whole(shared / name, **options)
    total = Tally("news")
    for piece in file.frames():
        why = judge_batch(piece)[1].why
        total += Tally("news", int((why == "").sum()), 0, int((why != "").sum()))
    assert (file.rows, file.undated) == (rows, undated) and len(got) == rows
    assert total.quarantined == undated and total.accepted == rows - undated


def stamped(tmp_path, *stamps, **options):
    rows = [{"title": f"Acme {i}", "published_at": s} for i, s in enumerate(stamps)]
    return whole(save(tmp_path, "csv", rows), **options)


def test_an_unknown_name_of_ours_is_refused_and_id_is_known(tmp_path):
    path = save(tmp_path, "csv")
    with pytest.raises(InputError, match="ours is one of id, feed, symbols, headline"):
        NewsFile(path, {"nope": "title"})
    file = NewsFile(path, {"id": "title"})
    assert next(iter(file.frames())).item_id[0] == ROWS[0]["title"]
    assert file.read["item_id"] == "title"


def test_what_was_read_and_which_stamps_were_not_is_told(tmp_path):
    more = {
        "ts": "2025-08-13T12:00:00Z",
        "raw_utc": "2025-08-13 20:00:00",
        "ts_epoch": 1755086400.0,
    }
    for kind in ("csv", "parquet", "jsonl"):
        rows = [{"title": f"Acme at 10:0{i}", "n": 1755086400 + i} | more for i in range(5)]
        file, _ = whole(save(tmp_path, kind, rows))
        assert file.read == {"headline": "title", "published_at": "ts"}
        assert file.stamps == ["raw_utc", "ts_epoch"], kind


def test_the_stamps_of_the_real_feed_are_told(shared):
    file = NewsFile(shared / "news/stockbench_dow20_2025H1.parquet")
    next(iter(file.frames()))
    assert file.read["published_at"] == "ts"
    assert file.stamps == ["ts_epoch", "published_utc_raw", "ts_fixed"]


def test_a_number_is_a_time_where_one_reading_exists_and_is_counted(tmp_path):
    _, got = stamped(tmp_path, "1755086400", "1755086400000", "20", "2025-08-13T12:00:00Z")
    items, v = judge_batch(got)
    assert items.published_at.dropna().nunique() == 1
    assert v.repairs.str.contains("published_at: time as a number since 1970").tolist() == [
        True, True, False, False,
    ]  # fmt: skip
    assert v.why[2] == "unreadable published_at" and v.examples["unreadable published_at"] == "'20'"


def test_a_local_time_that_is_twice_or_never_is_counted(tmp_path):
    nights = "2025-03-09 02:30", "2025-11-02 01:30", "Sun, 02 Nov 2025 01:30:00", "2025-11-02 03:30"
    items, v = judge_batch(stamped(tmp_path, *nights, zone="America/New_York")[1])
    assert items.published_at.dt.strftime("%H:%M").tolist() == ["07:00", "06:30", "06:30", "08:30"]
    told = [r.split("; ")[0] for r in v.repairs]
    assert "does not exist" in told[0] and "twice" in told[1] and "twice" in told[2]
    assert "local" not in told[3]


def test_what_was_received_is_said(tmp_path):
    _, v = judge_batch(stamped(tmp_path, "Aug-15-25 Today 10:00AM", "")[1])
    assert v.why.tolist() == ["unreadable published_at", "no published_at"]
    assert v.examples == {"unreadable published_at": "'Aug-15-25 Today 10:00AM'"}


def test_the_way_to_name_a_column_is_that_of_the_command(tmp_path):
    with pytest.raises(InputError, match="name it: -c published_at=THEIRS"):
        whole(write(tmp_path, "title,when\nAcme,now\n"))
