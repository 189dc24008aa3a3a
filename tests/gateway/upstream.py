"""Raw answers of a server, and what it was sent."""

from itertools import pairwise
from typing import Any

from ollama_admin.simulator.http import RecordedRequest, encode_chunk, encode_head
from tests.fake_ollama import Ending, Fault, Raw
from tests.fake_ollama_thread import FakeOllamaThread

RELAYED = {  # the paths with what stands in a request to each
    "/api/generate": {"prompt": "hi"},
    "/api/chat": {"messages": [{"role": "user", "content": "hi"}]},
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
}


def whole(body: bytes, content_type: str, status: int = 200, **headers: str) -> bytes:
    """A response with its length."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    length = str(len(body))
    return (
        encode_head(status, {"Content-Type": content_type, "Content-Length": length, **more}) + body
    )


def head(content_type: str, **headers: str) -> bytes:
    """The head of a chunked response."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return encode_head(200, {"Content-Type": content_type, "Transfer-Encoding": "chunked", **more})


def chunked(body: bytes, content_type: str, *sizes: int) -> bytes:
    """A response in chunks of these sizes, in turn and around again."""
    written, at, turn = head(content_type), 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)] if sizes else len(body)
        written += encode_chunk(body[at : at + size])
        at, turn = at + size, turn + 1
    return written + encode_chunk(b"")


def pieces(data: bytes, *cuts: int) -> Raw:
    """A response that is written in several steps, on a connection that stays open."""
    places = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(data)), len(data)]
    parts = tuple(data[a:b] for a, b in pairwise(places))
    return Raw(parts, Ending.KEEP)


def script(fake: FakeOllamaThread, path: str, *faults: Fault) -> None:
    fake.call(lambda: fake.fakes[0].script(path, *faults))


def sent_to(fake: FakeOllamaThread, path: str) -> list[RecordedRequest]:
    found: list[Any] = fake.call(lambda: list(fake.fakes[0].requests_to(path)))
    return found
