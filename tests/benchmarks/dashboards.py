"""Pages that stay open in browsers while something else is measured."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice

import httpx

from tests.benchmarks.load import Target
from tests.benchmarks.measuring import BenchmarkError

LIVE = ("fleet", "requests")  # the pages that change by themselves


@contextmanager
def open_pages(target: Target, count: int) -> Iterator[None]:
    """So many streams of events, read as they come; BenchmarkError where one is none."""
    headers = {"Origin": target.url, "Accept": "text/html"}
    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(base_url=target.url, headers=headers, timeout=None))
        http.post("/ui/sign-in", data={"key": target.token, "next": "/ui/"})
        for page in islice(cycle(LIVE), count):
            answer = stack.enter_context(http.stream("GET", "/ui/events", params={"page": page}))
            if answer.headers.get("content-type", "").partition(";")[0] != "text/event-stream":
                raise BenchmarkError(f"/ui/events answered {answer.status_code}")
            lines = answer.iter_lines()
            first = next(lines)
            if first != "event: part":
                raise BenchmarkError(f"the events of page {page} begin with {first!a}")
            threading.Thread(target=_read, args=(lines,), daemon=True).start()
        yield


def _read(lines: Iterator[str]) -> None:
    with suppress(httpx.StreamError, httpx.TransportError, OSError):  # closed at the end
        for _ in lines:
            pass
