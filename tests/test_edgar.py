"Filings: whose clock, what the codes say, and a filer that cannot be had"

import json
from datetime import UTC, datetime, time, timedelta

import pytest
from catalyst.clock import NEW_YORK, ReplayClock
from catalyst.core import InputError, UnavailableError
from catalyst.edgar import EdgarFeed, EdgarFile, filing_rows, read_filings, stamp_zone
from catalyst.news import import_news
from loopback import Loopback, Pages

AT = datetime(2025, 8, 15, 15, tzinfo=UTC)
FAST = dict(timeout=(5.0, 5.0), seconds=5.0, wait=0.01)
BOUNDS = {
    "timeout": dict(timeout=(1.0, 1.0)),
    "slow": dict(seconds=1.0),
    "huge": dict(seconds=30.0),
}
DAYS = ("11", "12", "13", "14")


def filings(stamps, **changes):
    "One filing per (stamp as stated, date of filing)"
    return [
        {
            "accessionNumber": f"0000000007-25-{i:06d}",
            "filingDate": filed,
            "reportDate": "2025-08-10",
            "form": "8-K",
            "items": "2.02,9.01",
            "primaryDocument": "acm.htm",
            "acceptanceDateTime": stamp,
        }
        | changes
        for i, (stamp, filed) in enumerate(stamps)
    ]


EVENING = [(f"2025-08-{d}T20:05:00.000Z", f"2025-08-{d}") for d in DAYS[:3]]
EVENING += [("2025-08-14T22:30:00.000Z", "2025-08-15")]
MORNING = [(f"2025-08-{d}T07:05:00.000Z", f"2025-08-{d}") for d in DAYS]  # Night, were it UTC


def document(rows, cik=7, name="Acme Inc.", tickers=("ACM",)):
    recent = {k: [r[k] for r in rows] for k in filings([("", "")])[0]}
    return json.dumps(
        {
            "cik": f"{cik:010d}",
            "name": name,
            "tickers": list(tickers),
            "filings": {"recent": recent},
        }
    ).encode()


def feed(server, symbols=("ACM",), **options):
    options = {"clock": ReplayClock(AT), "data": server.url, "files": server.url} | FAST | options
    return EdgarFeed(list(symbols), "Ann ann@example.org", **options)


TICKERS = json.dumps(
    {
        "0": {"cik_str": 7, "ticker": "ACM", "title": "Acme Inc."},
        "1": {"cik_str": 8, "ticker": "WDG", "title": "Widget"},
    }
).encode()


def pages(**more):
    told = {
        "/files/company_tickers.json": TICKERS,
        "/submissions/CIK0000000007.json": document(filings(EVENING)),
    }
    return Pages(told | more)


def test_filings_since_start():
    with Loopback(pages()) as server:
        got = feed(server).news(datetime(2025, 8, 13, 12, tzinfo=UTC), AT)
    assert got.headline.tolist() == ["Acme Inc. files 8-K: results of operations (2.02)"] * 2
    assert got.summary[0] == "Item 2.02; Item 9.01" and got.source[0] == "SEC"
    assert got.published_at[0] == datetime(2025, 8, 13, 20, 5, tzinfo=UTC)
    assert got.event_at[0] == datetime(2025, 8, 10, tzinfo=NEW_YORK) and got.symbols[0] == ["ACM"]
    assert (got.received_at == AT).all()
    assert got.url[0].endswith("/7/000000000725000002/acm.htm")
    assert all(a.headers["user-agent"] == "catalyst Ann ann@example.org" for a in server.asked)


def test_a_filer_whose_z_is_new_york_time():
    own = {"/submissions/CIK0000000007.json": document(filings(MORNING))}
    with Loopback(pages(**own)) as server:
        got = feed(server).news(datetime(2025, 8, 11, tzinfo=UTC), AT)
    assert got.published_at[0] == datetime(2025, 8, 11, 11, 5, tzinfo=UTC)


def test_one_filing_proves_nothing_and_is_read_late():
    rows, zones = filing_rows(f | {"cik": 7} for f in filings(EVENING[:1]))
    assert zones == {"7": "unknown"}
    assert rows[0]["published_at"] == datetime(2025, 8, 12, 0, 5, tzinfo=UTC)
    mixed = [(datetime.fromisoformat(s).replace(tzinfo=None), d) for s, d in EVENING + MORNING]
    assert stamp_zone(mixed) == "unknown"


def test_a_date_without_a_time_is_known_at_the_end_of_its_day():
    rows, _ = filing_rows(filings([("1999-08-13T04:00:00.000Z", "1999-08-13")]))
    assert rows[0]["published_at"] == datetime(1999, 8, 13, 22, tzinfo=NEW_YORK)


def test_other_forms_and_amendments():
    rows = filings(EVENING[:1], form="10-Q") + filings(EVENING[:1], form="8-K/A", items="5")
    told, _ = filing_rows(rows)
    assert [r["headline"] for r in told] == ["A company amends 8-K: other events (5)"]


def test_one_filer_missing_degrades_and_most_missing_is_unavailable():
    with Loopback(pages()) as server:
        one = feed(server, ["ACM", "WDG"])
        got = one.news(datetime(2025, 8, 11, tzinfo=UTC), AT)
        assert len(got) == 4 and list(one.missing) == ["WDG"] and "HTTP 404" in one.missing["WDG"]
        with pytest.raises(UnavailableError, match="2 of 3 filers"):
            feed(server, ["ACM", "WDG", "XYZ"]).news(AT - timedelta(days=4), AT)


@pytest.mark.parametrize(
    "kind",
    ["429", "500", "reset", "truncated", "cut_json", "foreign", "html", "empty", "timeout", "slow"],
)
@pytest.mark.parametrize("path", ["/files", "/submissions"])
def test_guard_12_unavailable_is_never_empty(kind, path):
    with Loopback(pages()) as server:
        server.fail(kind, path=path)
        with pytest.raises(UnavailableError) as e:
            feed(server, **BOUNDS.get(kind, {})).news(AT - timedelta(days=4), AT)
    assert "\n" not in str(e.value) and len(str(e.value)) < 400


def test_guard_13_a_filer_without_filings_is_no_news():
    own = {"/submissions/CIK0000000007.json": document([])}
    with Loopback(pages(**own)) as server:
        assert feed(server).news(AT - timedelta(days=4), AT).empty


def test_arrays_of_unequal_length_are_not_joined():
    told = json.loads(document(filings(EVENING)))
    told["filings"]["recent"]["items"].pop()
    with Loopback(
        pages(**{"/submissions/CIK0000000007.json": json.dumps(told).encode()})
    ) as server:
        with pytest.raises(UnavailableError, match="no list of submissions"):
            feed(server).news(AT - timedelta(days=4), AT)


@pytest.mark.parametrize(
    "contact",
    [None, "", "Ann", "ann@", "Ann <ann@example.org>\r\nX: y", "a" * 300 + "@example.org"],
)
def test_the_contact_is_needed(contact):
    with pytest.raises(InputError, match="CATALYST_SEC_CONTACT"):
        EdgarFeed(["ACM"], contact)


def test_guard_13_poison_is_put_aside(scratch):
    rows = filings(
        [*EVENING, ("soon", "2025-08-13"), ("", "2025-08-13")], cik=7, name="Acme\x00 <b>"
    )
    told, _ = filing_rows(rows)
    from catalyst.fetch import news_frame

    tally = import_news(scratch, news_frame(told))
    assert (tally.repaired, tally.quarantined) == (4, 2)
    assert scratch.value("select count(*) from quarantine where reason = 'no published_at'") == 1
    told = "select count(*) from quarantine where reason = 'unreadable published_at'"
    assert scratch.value(told) == 1


def test_a_file_answers_as_of(tmp_path):
    head = "accessionNumber,filingDate,reportDate,form,items,cik,symbol,name,acceptance_raw\n"
    lines = [f'1-{i},{d},,8-K,"5.02",9,NA,Acme,{s}\n' for i, (s, d) in enumerate(EVENING)]
    (tmp_path / "f.csv").write_text(head + "".join(lines))
    one = EdgarFile(tmp_path / "f.csv")
    at = datetime(2025, 8, 12, 20, 5, tzinfo=UTC)
    assert len(one.news(at - timedelta(days=9), at + timedelta(seconds=59))) == 1
    got = one.news(at - timedelta(days=9), at + timedelta(seconds=60))
    assert len(got) == 2 and got.symbols[0] == ["NA"]
    with pytest.raises(UnavailableError, match="cannot be read"):
        EdgarFile(tmp_path / "none.csv").news(at, at)


def test_the_clocks_of_the_real_filers(shared):
    rows, zones = filing_rows(read_filings(shared / "edgar_8k_to_2025.csv"))
    assert len(rows) == 9807 and len(zones) == 31
    local = {z for z, kind in zones.items() if kind == "New York"}
    assert (
        local == {"50863", "865941", "945436", "1045810", "1731289"}
        and "unknown" not in zones.values()
    )
    local = [r["published_at"].astimezone(NEW_YORK).time() for r in rows]
    assert all(time(6) <= t <= time(22) for t in local)
