"News of Alpaca against a server on this machine: whole answers, broken ones, and no answer"

from datetime import UTC, datetime, timedelta

import pytest
from catalyst.alpaca_hosts import DATA_HOSTS, data_url
from catalyst.alpaca_news import AlpacaNews
from catalyst.clock import ReplayClock
from catalyst.core import InputError, Secret, UnavailableError
from catalyst.news import import_news
from catalyst.ports import NEWS_COLUMNS
from loopback import SPECS, AlpacaData, Loopback, item

AT = datetime(2025, 8, 13, 12, 30, tzinfo=UTC)
BACK = AT - timedelta(hours=4)
FAST = dict(timeout=(5.0, 5.0), seconds=5.0, wait=0.01)
BOUNDS = {
    "timeout": dict(timeout=(1.0, 1.0)),
    "slow": dict(seconds=1.0),
    "huge": dict(seconds=30.0),
}


def feed(server, key=AlpacaData.key, secret=AlpacaData.secret, **options):
    options = FAST | {"clock": ReplayClock(AT)} | options
    return AlpacaNews(Secret(key), Secret(secret), server.url, **options)


def stamp(minute):
    return f"2025-08-13T12:{minute:02d}:00Z"


def many(n, **changes):
    return [
        item(i, created_at=stamp(i % 25), updated_at=stamp(i % 25), **changes) for i in range(n)
    ]


def refusal(server, **options):
    with pytest.raises(UnavailableError) as e:
        feed(server, **options).news(BACK, AT)
    text = str(e.value)
    assert "\n" not in text and len(text) < 300 and AlpacaData.secret not in text, text
    return text


def test_pages_symbols_and_clocks():
    with Loopback(AlpacaData(many(120))) as server:
        got = feed(server, symbols=["ACM", "WDG"]).news(BACK, AT)
    assert list(got.columns) == NEWS_COLUMNS and len(got) == 120
    assert sorted(map(int, got.item_id)) == list(range(120))
    assert (got.received_at == AT).all() and got.revised_at.isna().all()
    assert [a.query.get("page_token") is None for a in server.asked] == [True, False, False]
    assert {a.query["symbols"] for a in server.asked} == {"ACM,WDG"}
    assert {a.query["limit"] for a in server.asked} == {"50"}


@pytest.mark.skipif(not SPECS.is_dir(), reason="the document of the interface is not here")
def test_questions_and_answers_fit_the_document():
    with Loopback(AlpacaData(many(3))) as server:
        feed(server).news(BACK, AT)
        bad = server.services[0].spec
        assert bad.question(server.asked[0], "/v1beta1/news") == []
        assert bad.answer("GET", "/v1beta1/news", 200, {"news": [{"id": "x"}]})
        server.asked[0].query["limit"] = "51"
        assert "51" in bad.question(server.asked[0], "/v1beta1/news")[0]


def test_two_hundred_symbols_are_asked_in_batches_and_told_once():
    names = [f"A{chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(250)]
    both = item(1, symbols=[names[0], names[200]])
    with Loopback(AlpacaData([both])) as server:
        got = feed(server, symbols=names).news(BACK, AT)
    assert len(got) == 1 and len(server.asked) == 3
    assert max(len(a.query["symbols"].split(",")) for a in server.asked) == 100


def test_a_revision_and_what_belongs_to_the_next_question():
    rows = [
        item(1, updated_at=stamp(10)),
        item(2, created_at="2025-08-13T12:30:05Z", updated_at="2025-08-13T12:30:05Z"),
    ]
    with Loopback(AlpacaData(rows)) as server:
        got = feed(server).news(BACK, AT)
        later = feed(server, clock=ReplayClock(AT + timedelta(minutes=1)))
        second = later.news(AT, AT + timedelta(minutes=1))
    assert got.item_id.tolist() == ["1"] and got.revised_at.tolist() == [stamp(10)]
    assert "2" in second.item_id.tolist()
    assert (second.received_at == AT + timedelta(minutes=1)).all()


class Ahead(AlpacaData):
    "A server that looks past the end of the question"

    def news(self, asked):
        asked.query.pop("end", None)
        return super().news(asked)


def test_what_is_stamped_after_the_question_comes_with_the_next_and_a_broken_clock_is_passed_on():
    soon, far = "2025-08-13T12:40:00Z", "2031-08-13T12:40:00Z"
    rows = [item(1), item(2, created_at=soon, updated_at=soon), item(3, updated_at=soon)]
    with Loopback(Ahead([*rows, item(4, created_at=far, updated_at=far)])) as server:
        assert feed(server).news(BACK, AT).item_id.tolist() == ["1", "4"]
        late = AT + timedelta(minutes=15)
        got = feed(server, clock=ReplayClock(late)).news(AT, late)
    assert {"2", "3"} <= set(got.item_id)


def test_guard_13_no_news_is_an_empty_frame():
    with Loopback(AlpacaData([])) as server:
        got = feed(server).news(BACK, AT)
    assert list(got.columns) == NEWS_COLUMNS and got.empty


@pytest.mark.parametrize(
    "kind, says",
    [
        ("401", "HTTP 401"),
        ("403", "HTTP 403"),
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("504", "HTTP 504"),
        ("reset", "dropped"),
        ("timeout", "no answer in time"),
        ("slow", "not complete after 1 s"),
        ("truncated", "cut short"),
        ("cut_json", "not JSON"),
        ("html", "not JSON"),
        ("empty", "no list of news"),
        ("foreign", "no list of news; it has weather"),
        ("huge", "larger than 20 MB"),
    ],
)
def test_guard_12_unavailable_is_never_empty(kind, says):
    with Loopback(AlpacaData(many(60))) as server:
        server.fail(kind)
        assert says in refusal(server, **BOUNDS.get(kind, {}))


def test_a_page_that_fails_in_the_middle_spoils_the_answer():
    with Loopback(AlpacaData(many(120))) as server:
        whole = feed(server)
        client, calls = whole._client, []

        def get(path, fields, real=client.get):
            calls.append(fields)
            if len(calls) == 2:
                server.fail("500")
            return real(path, fields)

        client.get = get
        with pytest.raises(UnavailableError, match="HTTP 500"):
            whole.news(BACK, AT)
        server.heal()
        assert len(whole.news(BACK, AT)) == 120


@pytest.mark.parametrize("kind", ["429", "500", "503", "504", "reset"])
def test_two_failures_are_outlasted(kind):
    times = 1 if kind == "reset" else 2
    with Loopback(AlpacaData(many(3))) as server:
        server.fail(kind, times=times)
        assert len(feed(server).news(BACK, AT)) == 3
    assert len(server.asked) == times + 1


def test_401_is_not_asked_twice():
    with Loopback(AlpacaData()) as server:
        assert "unauthorized" in refusal(server, key="AK-OTHER-0002")
    assert len(server.asked) == 1


def test_a_long_wait_is_left_to_the_next_slot():
    with Loopback(AlpacaData(many(1))) as server:
        server.fail("429", headers={"Retry-After": "60"})
        assert "HTTP 429" in refusal(server)
        assert len(server.asked) == 1
        server.heal()
        reset = str(int(AT.timestamp()) + 60)
        server.fail("429", headers={"X-RateLimit-Reset": reset})
        assert "HTTP 429" in refusal(server)
    assert len(server.asked) == 2


def test_a_short_wait_is_kept():
    from catalyst.clock import Stopwatch

    with Loopback(AlpacaData(many(1))) as server:
        server.fail("429", times=1, headers={"Retry-After": "1"})
        watch = Stopwatch()
        assert len(feed(server).news(BACK, AT)) == 1
        assert 1 <= watch.seconds < 5


def test_keys_in_an_error_body_are_not_told():
    body = f'{{"message": "key {AlpacaData.key} with {AlpacaData.secret} is wrong"}}'.encode()
    with Loopback(AlpacaData()) as server:
        server.fail("403", body=body * 50)
        text = refusal(server)
    assert AlpacaData.key not in text and AlpacaData.secret not in text and "•••" in text


def test_an_endless_list_ends():
    with Loopback(AlpacaData(many(50), endless=True)) as server:
        assert "offered twice" in refusal(server)
    assert len(server.asked) == 2


def test_nobody_listens():
    server = Loopback()
    server.server.server_close()
    assert "refused" in refusal(server)


def test_guard_13_poison_is_put_aside_and_the_rest_is_stored(scratch):
    poison = [
        item(1),
        item(2, headline=...),
        item(3, created_at=...),
        item(4, created_at="yesterday"),
        item(5, created_at="2025-08-13T12:00:00"),
        item(6, headline={"a": 1}),
        item(7, symbols=None),
        item(8, headline="<script>alert(1)</script> Acme\u0000 " + "x" * 30_000),
        "not a record",
        None,
        item(..., headline="Without a number"),
    ]
    poison[-1].pop("id", None)
    with Loopback(AlpacaData(poison, poison=True)) as server:
        got = feed(server).news(BACK, AT)
    assert len(got) == len(poison)
    tally = import_news(scratch, got, AT)
    assert tally.accepted + tally.repaired + tally.quarantined == len(poison)
    assert tally.reasons["no headline"] == 3 and tally.reasons["no published_at"] == 1
    assert tally.reasons["unreadable published_at"] == 1
    assert tally.reasons["published_at without time zone"] == 1
    stored = scratch.frame("select item_id, headline from news_revisions")
    assert {"1", "6", "7", "8"} <= set(stored.item_id)
    assert stored.headline.str.contains("<script>", regex=False).any()


@pytest.mark.parametrize(
    "url",
    [
        "http://data.alpaca.markets",
        "https://paper-api.alpaca.markets",
        "https://evil.example/data.alpaca.markets",
        "https://user:pw@data.alpaca.markets",
        "ftp://127.0.0.1",
        "127.0.0.1:80",
        "",
    ],
)
def test_keys_go_nowhere_else(url):
    with pytest.raises(InputError, match="CATALYST_ALPACA_DATA_URL"):
        AlpacaNews(Secret("AK-LOOPBACK-0001"), Secret("x" * 20), url)


def test_both_hosts_of_the_document_are_allowed():
    assert [data_url(f"https://{h}/") for h in DATA_HOSTS] == [f"https://{h}" for h in DATA_HOSTS]
