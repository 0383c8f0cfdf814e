"""A server on this machine that speaks as the outside does, for tests without a network.

`Loopback` listens, records what was asked, and breaks on demand. What it says comes from *services*: functions from a request to
an `Answer`, found by method and path. A service that has a document of OpenAPI is held to it: questions that the document does not
allow are answered 400, and an answer that does not fit raises in the test. To add a service, subclass `Service`, write one
method per path and list them in `routes`; websockets can share the thread's address by a second listener.

    with Loopback(AlpacaData(items)) as server:
        server.fail("429", times=1, headers={"Retry-After": "1"})
        AlpacaNews(..., url=server.url)
"""

import base64
import json
import re
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SPECS = Path(__file__).parents[2] / "shared" / "specs"


@dataclass
class Asked:
    "One question"

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # Lower case
    body: bytes


@dataclass
class Answer:
    "One reply; a `value` is sent as JSON, `raw` as it is"

    status: int = 200
    value: object = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self):
        return self.raw if self.raw is not None else json.dumps(self.value).encode()


class Spec:
    "A document of OpenAPI 3.0: are a question and an answer as it says? Nothing is checked where it is absent"

    def __init__(self, name):
        path = SPECS / name
        self.document = json.loads(path.read_text("utf-8")) if path.exists() else None
        self.validators = {}
        from jsonschema import Draft7Validator  # Slow: before anybody waits for an answer

        self.kind = Draft7Validator

    def _follow(self, node):
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def _schema(self, node):
        "The schema in the words of JSON Schema: references followed, `nullable` a type"
        node = self._follow(node)
        out = {k: v for k, v in node.items() if k not in ("example", "examples", "nullable")}
        for key in ("properties",):
            if key in out:
                out[key] = {k: self._schema(v) for k, v in out[key].items()}
        for key in ("items", "additionalProperties"):
            if isinstance(out.get(key), dict):
                out[key] = self._schema(out[key])
        for key in ("allOf", "anyOf", "oneOf"):
            if key in out:
                out[key] = [self._schema(v) for v in out[key]]
        return {"anyOf": [out, {"type": "null"}]} if node.get("nullable") else out

    def _check(self, value, schema):
        key = json.dumps(schema, sort_keys=True)
        if key not in self.validators:
            checker = self.kind.FORMAT_CHECKER
            self.validators[key] = self.kind(self._schema(schema), format_checker=checker)
        validator = self.validators[key]
        return [f"{'/'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(value)]

    def question(self, asked, path):
        "What is wrong with a question; an empty list when nothing is"
        if self.document is None:
            return []
        wrong, node = [], self.document["paths"][path][asked.method.lower()]
        known = {
            p["name"]: p
            for p in map(self._follow, node.get("parameters", ()))
            if p["in"] == "query"
        }
        wrong += [f"unknown parameter {n}" for n in asked.query if n not in known]
        wrong += [
            f"{n} is missing"
            for n, p in known.items()
            if p.get("required") and n not in asked.query
        ]
        for name in asked.query.keys() & known.keys():
            schema, value = self._follow(known[name]["schema"]), asked.query[name]
            if schema.get("type") == "integer":
                value = int(value) if re.fullmatch(r"-?\d+", value) else value
            if schema.get("type") == "boolean":
                value = {"true": True, "false": False}.get(value.lower(), value)
            wrong += [f"{name}: {w}" for w in self._check(value, schema)]
        return wrong

    def answer(self, method, path, status, value):
        "What is wrong with an answer; an empty list when nothing is"
        if self.document is None:
            return []
        replies = self.document["paths"][path][method.lower()]["responses"]
        if str(status) not in replies:
            return [f"status {status} is not in the document"]
        content = self._follow(replies[str(status)]).get("content")
        return self._check(value, content["application/json"]["schema"]) if content else []


class Service:
    "What a server says; `routes` maps (method, path of the document) to a method of this class"

    routes, spec, guarded = {}, None, False

    def find(self, asked):
        for (method, path), name in self.routes.items():
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))
            if asked.method == method and re.fullmatch(pattern, asked.path):
                return path, getattr(self, name)
        return None

    def allowed(self, asked):
        return True

    def reply(self, asked):
        "The answer, or None when the path is another's"
        found = self.find(asked)
        if found is None:
            return None
        path, call = found
        if not self.allowed(asked):
            return Answer(401, {"message": "unauthorized."})
        if self.spec and (wrong := self.spec.question(asked, path)):
            return Answer(400, {"message": "; ".join(wrong)})
        answer = call(asked)
        if (
            self.spec
            and answer.status == 200
            and answer.raw is None
            and not getattr(self, "poison", False)
        ):
            wrong = self.spec.answer(asked.method, path, 200, answer.value)
            assert not wrong, wrong
        return answer


class Pages(Service):
    "Files by path, with ETag and 304: RSS, submissions, anything"

    def __init__(self, pages=None, headers=None):
        self.pages, self.headers = dict(pages or {}), dict(headers or {})  # Path to bytes

    def reply(self, asked):
        body = self.pages.get(asked.path)
        if body is None:
            return None
        if isinstance(body, Answer):
            return body
        tag = f'"{abs(hash(body))}"'
        if asked.headers.get("if-none-match") == tag:
            return Answer(304, raw=b"")
        return Answer(200, raw=body, headers={"ETag": tag} | self.headers)


class Alpaca(Service):
    "What all services of Alpaca have in common: two keys"

    key, secret = "AK-LOOPBACK-0001", "loopback-secret-0001"

    def allowed(self, asked):
        told = asked.headers.get("apca-api-key-id"), asked.headers.get("apca-api-secret-key")
        return told == (self.key, self.secret)


class AlpacaData(Alpaca):
    "Market data: news so far; issue 6 adds bars, snapshots and movers"

    routes = {("GET", "/v1beta1/news"): "news"}

    def __init__(self, items=(), poison=False, endless=False):
        self.items, self.poison, self.endless = list(items), poison, endless
        self.spec = Spec("market-data-api.json")

    def news(self, asked):
        q, at = asked.query, lambda t: datetime.fromisoformat(t)
        symbols = set(q["symbols"].split(",")) if "symbols" in q else None
        kept = []
        for n in self.items:
            if not isinstance(n, dict) or "updated_at" not in n:
                kept.append(n)  # Poison is sent as it is
                continue
            inside = all(
                (k not in q)
                or (
                    at(q[k]) <= at(n["updated_at"])
                    if k == "start"
                    else at(n["updated_at"]) <= at(q[k])
                )
                for k in ("start", "end")
            )
            if inside and (symbols is None or symbols & set(n.get("symbols") or ())):
                kept.append(n)
        kept.sort(
            key=lambda n: n.get("updated_at", "") if isinstance(n, dict) else "",
            reverse=q.get("sort", "desc") == "desc",
        )
        limit = int(q.get("limit", 10))
        first = 0 if self.endless else int(base64.b64decode(q.get("page_token", "MA==")))
        more = first + limit < len(kept)
        token = base64.b64encode(str(first + limit).encode()).decode() if more else None
        if self.endless:
            token, first = "bG9vcA==", 0
        page = kept[first : first + limit]
        return Answer(200, {"news": page, "next_page_token": token})


@dataclass
class Fault:
    "What goes wrong with the next answers"

    kind: str  # A status, or: reset, timeout, truncated, foreign, html, huge, slow, empty, cut_json
    times: int  # Answers that are spoilt
    path: str  # Only paths that begin so
    headers: dict[str, str]
    body: bytes | None


class Loopback:
    "A server at `url`; `asked` holds every question in order"

    def __init__(self, *services):
        self.services, self.asked, self.faults, self.errors = services, [], deque(), []
        self.released = threading.Event()  # Set at the end: hanging answers stop
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self):
                try:
                    super().handle()
                except (ConnectionError, OSError):
                    pass  # The client left, as it should

            def log_message(self, *args):
                pass

            def do_GET(self):
                owner.serve(self)

            do_POST = do_DELETE = do_PATCH = do_PUT = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *failed):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        if not failed[0]:
            assert not self.errors, self.errors

    def fail(self, kind, times=1000, path="/", headers=None, body=None):
        "Spoil the next answers"
        self.faults.append(Fault(str(kind), times, path, dict(headers or {}), body))

    def heal(self):
        "Spoil no more"
        self.faults.clear()

    def serve(self, handler):
        url = urlsplit(handler.path)
        size = int(handler.headers.get("Content-Length") or 0)
        query = {k: v[-1] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        headers = {k.lower(): v for k, v in handler.headers.items()}
        asked = Asked(handler.command, url.path, query, headers, handler.rfile.read(size))
        self.asked.append(asked)
        fault = next((f for f in self.faults if f.times > 0 and url.path.startswith(f.path)), None)
        if fault:
            fault.times -= 1
            self.spoil(handler, asked, fault)
        else:
            self.send(handler, self.answer(asked))

    def answer(self, asked):
        try:
            told = (s.reply(asked) for s in self.services)
            return next((a for a in told if a is not None), Answer(404, {"message": "not found"}))
        except Exception as e:  # Shown when the test ends; the client sees a broken server
            self.errors.append(f"{asked.path}: {e!r}")
            return Answer(500, {"message": "the loopback server is at fault"})

    def send(self, handler, answer, length=None):
        handler.send_response(answer.status)
        for k, v in ({"Content-Type": "application/json"} | answer.headers).items():
            handler.send_header(k, v)
        if answer.status != 304:
            handler.send_header(
                "Content-Length", str(len(answer.body) if length is None else length)
            )
        handler.end_headers()
        if answer.status != 304:
            handler.wfile.write(answer.body)

    def spoil(self, handler, asked, fault):
        handler.close_connection = True
        if fault.kind.isdigit():
            body = (
                fault.body
                if fault.body is not None
                else json.dumps({"message": f"fault {fault.kind}"}).encode()
            )
            return self.send(handler, Answer(int(fault.kind), raw=body, headers=fault.headers))
        return getattr(self, f"_{fault.kind}")(handler, asked, fault)

    def _reset(self, handler, asked, fault):
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.wfile, handler.rfile = open("/dev/null", "wb"), open("/dev/null", "rb")

    def _timeout(self, handler, asked, fault):
        self.released.wait(60)

    def _truncated(self, handler, asked, fault):
        answer = self.answer(asked)
        full = len(answer.body)
        self.send(handler, Answer(200, raw=answer.body[: full // 2]), length=full)

    def _cut_json(self, handler, asked, fault):
        body = self.answer(asked).body
        self.send(handler, Answer(200, raw=body[: len(body) // 2]))

    def _foreign(self, handler, asked, fault):
        self.send(handler, Answer(200, {"weather": [{"city": "Springfield"}]}))

    def _html(self, handler, asked, fault):
        self.send(handler, Answer(200, raw=b"<html><body>Sign in</body></html>"))

    def _empty(self, handler, asked, fault):
        self.send(handler, Answer(200, raw=b""))

    def _huge(self, handler, asked, fault):
        handler.send_response(200)
        handler.end_headers()
        while not self.released.is_set():
            handler.wfile.write(b'{"news": [' + b" " * 65536)

    def _slow(self, handler, asked, fault):
        handler.send_response(200)
        handler.end_headers()
        while not self.released.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()


def item(number, **changes):
    "An item of news as Alpaca tells it; every word is invented"
    told = {
        "id": number,
        "headline": f"Acme opens plant number {number}",
        "author": "A. Writer",
        "created_at": "2025-08-13T12:00:00Z",
        "updated_at": "2025-08-13T12:00:00Z",
        "summary": "A plant opens.",
        "content": "<p>A plant opens.</p>",
        "images": [],
        "symbols": ["ACM"],
        "source": "benzinga",
        "url": f"https://example.org/{number}",
    }
    return {k: v for k, v in (told | changes).items() if v is not ...}
