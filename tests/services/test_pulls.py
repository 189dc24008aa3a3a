"""Pulls at several servers at once: what comes, what it is there, and what fails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.pulls import Pull, PullProgress, PullReport, PullResult
from ollama_admin.errors import (
    AdminError,
    InvalidInput,
    ModelMismatch,
    ModelNotFound,
    ServerFull,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.ollama.connecting import Times
from ollama_admin.simulator.http import encode_chunk, encode_head
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Layer, PullFailedError, Registry
from tests.fake_ollama import Answer, CutAfter, FakeOllama, Fault, Raw, Silence, pull_progress

ALPHA = SimulatedModel("alpha", size=10_000)
NEW_ALPHA = SimulatedModel("alpha", build="2", size=20_000)
HEAD = encode_head(200, {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"})

Fleet = Callable[[int], Any]


@pytest.fixture
async def fleet(client: Client) -> AsyncIterator[Fleet]:
    """Starts servers that can pull alpha, and adds them to the client as s1, s2, ..."""
    async with AsyncExitStack() as stack:

        async def start(count: int) -> list[FakeOllama]:
            fakes = []
            for number in range(1, count + 1):
                fake = FakeOllama(registry=Registry([ALPHA]))
                fakes.append(await stack.enter_async_context(fake))
                await client.servers.add(name=f"s{number}", url=fake.url)
            return fakes

        yield start


async def asked(client: Client, model: str = "alpha", **options: Any) -> list[Pull]:
    servers = sorted(await client.servers.list(), key=lambda server: server.id)
    return [Pull(server=server, model=model, **options) for server in servers]


async def pulled(client: Client, **options: Any) -> PullReport:
    async with asyncio.timeout(60):
        return await client.fleet.pulls.run(await asked(client, **options))


def kinds(report: PullReport) -> list[type[AdminError] | None]:
    return [None if result.error is None else type(result.error) for result in report.results]


async def audited(client: Client) -> list[tuple[str | None, str]]:
    entries = await client.audit.list(action="model")
    return sorted((entry.subject, entry.outcome) for entry in entries)


async def test_servers_pull_a_model_and_the_catalogue_knows_it(
    client: Client, fleet: Fleet
) -> None:
    fakes = await fleet(3)
    report = await pulled(client)
    assert [(result.server.name, result.digest, result.error) for result in report.results] == [
        (f"s{number}", ALPHA.digest, None) for number in (1, 2, 3)
    ]
    for result, fake in zip(report.results, fakes, strict=True):
        assert result.received == result.total == fake.registry.received == ALPHA.size
    [build] = report.builds
    assert (build.model, build.digest, build.servers) == ("alpha", ALPHA.digest, ("s1", "s2", "s3"))
    assert report.is_whole
    models = await client.models.list()
    assert [(model.server, model.digest) for model in models] == [
        (f"s{number}", ALPHA.digest) for number in (1, 2, 3)
    ]


async def test_pull_leaves_a_row_in_the_audit_with_what_it_was_and_is(
    client: Client, fleet: Fleet
) -> None:
    [fake] = await fleet(1)
    await pulled(client)
    fake.registry.offer(NEW_ALPHA)
    report = await pulled(client)
    assert (report.results[0].before, report.results[0].digest) == (ALPHA.digest, NEW_ALPHA.digest)
    last, first = await client.audit.list(action="model.pull")
    assert (last.subject, last.outcome) == ("model alpha on server s1", "ok")
    assert (first.before, first.after) == ({"digest": None}, {"digest": ALPHA.digest})
    assert (last.before, last.after) == ({"digest": ALPHA.digest}, {"digest": NEW_ALPHA.digest})


async def test_servers_that_end_up_with_different_builds_are_told_apart(
    client: Client, fleet: Fleet
) -> None:
    fakes = await fleet(3)
    fakes[1].registry.offer(NEW_ALPHA)
    report = await pulled(client)
    assert (report.failed, report.differs, report.is_whole) == (0, True, False)
    assert [(build.digest, build.servers) for build in report.builds] == [
        (ALPHA.digest, ("s1", "s3")),
        (NEW_ALPHA.digest, ("s2",)),
    ]


async def test_demanded_build_that_does_not_come_is_a_mismatch(
    client: Client, fleet: Fleet
) -> None:
    fakes = await fleet(2)
    fakes[1].registry.offer(NEW_ALPHA)
    report = await pulled(client, digest=ALPHA.digest[:12])
    assert kinds(report) == [None, ModelMismatch]
    assert report.results[1].digest == NEW_ALPHA.digest
    assert str(report.results[1].error).startswith(
        f"server s2 has build {NEW_ALPHA.digest[:12]} of 'alpha' now, not {ALPHA.digest[:12]}"
    )


async def test_demanded_build_that_is_there_is_not_pulled_over(
    client: Client, fleet: Fleet
) -> None:
    """The registry's name may stand for another build by now, which would replace it."""
    [fake] = await fleet(1)
    await pulled(client)
    fake.registry.offer(NEW_ALPHA)
    report = await pulled(client, digest=ALPHA.digest)
    assert (report.is_whole, report.results[0].digest) == (True, ALPHA.digest)
    assert len(fake.requests_to("/api/pull")) == 1
    assert len(await audited(client)) == 1


async def test_server_that_is_killed_costs_its_own_row_only(client: Client, fleet: Fleet) -> None:
    fakes = await fleet(3)

    async def die(layer: Layer, completed: int) -> None:
        if completed >= layer.size * 0.6:
            await asyncio.shield(asyncio.ensure_future(fakes[1].stop()))

    fakes[1].registry.pieces = 10
    fakes[1].registry.before_piece = die
    report = await pulled(client)
    assert kinds(report) == [None, StreamInterrupted, None]
    message = str(report.results[1].error)
    assert message.startswith("server s2 broke off the pull: ")
    assert "(model 'alpha', 60 % of 9900 bytes)" in message
    assert report.results[1].error is not None
    assert "goes on where it stopped" in str(report.results[1].error.hint)
    assert report.results[1].received == 5940
    while (await client.servers.show("s2")).status != "offline":  # it is written beside the work
        await asyncio.sleep(0.01)
    rows = await client.servers.list()
    assert [row.status for row in rows] == ["online", "offline", "online"]
    assert await audited(client) == [
        ("model alpha on server s1", "ok"),
        ("model alpha on server s2", "stream_interrupted"),
        ("model alpha on server s3", "ok"),
    ]


async def test_second_pull_brings_only_what_the_first_one_did_not(
    client: Client, fleet: Fleet
) -> None:
    [fake] = await fleet(1)

    async def fail(layer: Layer, completed: int) -> None:
        if completed:
            raise PullFailedError("max retries exceeded: EOF")

    fake.registry.before_piece = fail
    assert (await pulled(client)).results[0].received == 2475
    fake.registry.before_piece = None
    report = await pulled(client)
    assert (report.results[0].received, report.results[0].total) == (7525, 10_000)
    assert fake.registry.received == ALPHA.size


async def test_two_pulls_of_one_model_at_once_both_succeed(client: Client, fleet: Fleet) -> None:
    [fake] = await fleet(1)
    reports = await asyncio.gather(pulled(client), pulled(client))
    assert [report.is_whole for report in reports] == [True, True]
    assert fake.registry.received == ALPHA.size


def progress_lines(*, until: int) -> bytes:
    return b"".join(map(encode_chunk, pull_progress("alpha")[:until]))


ENDS: dict[str, tuple[Fault, type[AdminError], str]] = {
    "nothing at all": (
        Answer(200, b"", content_type="application/x-ndjson"),
        StreamInterrupted,
        "server s1 ended the pull without a word of success (model 'alpha', 0 % of 0 bytes)",
    ),
    "an end without success": (
        Raw((HEAD, progress_lines(until=3) + encode_chunk(b""))),
        StreamInterrupted,
        "server s1 ended the pull without a word of success (model 'alpha', 50 % of 100 bytes)",
    ),
    "a connection that breaks": (
        Raw((HEAD, progress_lines(until=3))),
        StreamInterrupted,
        "server s1 broke off the pull: ",
    ),
    "a full disk": (
        Raw(
            (
                HEAD,
                progress_lines(until=3)
                + encode_chunk(b'{"error":"write /blobs/sha256-1: no space left on device"}\n')
                + encode_chunk(b""),
            )
        ),
        ServerFull,
        "server s1 has no room left for 'alpha': write /blobs/sha256-1: no space left on device",
    ),
    "a registry that is away": (
        Answer(200, b'{"status":"pulling manifest"}\n{"error":"dial tcp: i/o timeout"}\n'),
        UpstreamError,
        "server s1 could not pull 'alpha': dial tcp: i/o timeout",
    ),
    "a line that is no object": (
        Answer(200, b"[1,2]\n"),
        UpstreamError,
        "server s1, /api/pull: the answer is not what Ollama sends",
    ),
    "a web page": (
        Answer(200, "<html><title>Sign in</title></html>"),
        UpstreamError,
        "server s1, /api/pull: the answer cannot be read as JSON: a web page",
    ),
    "no such path": (Answer(404, b"404 page not found"), UpstreamError, "server s1 does not know"),
}


@pytest.mark.parametrize("end", ENDS)
async def test_end_of_a_pull_that_is_no_success_is_that_rows_error(
    client: Client, fleet: Fleet, end: str
) -> None:
    fakes = await fleet(2)
    fault, kind, message = ENDS[end]
    fakes[0].script("/api/pull", fault)
    report = await pulled(client)
    assert kinds(report) == [kind, None]
    assert str(report.results[0].error).startswith(message)
    assert "\n" not in str(report.results[0].error)


async def test_model_that_the_registry_does_not_have_is_named(client: Client, fleet: Fleet) -> None:
    await fleet(1)
    report = await pulled(client, model="localhost:5000/x/y:z")
    assert kinds(report) == [ModelNotFound]
    assert str(report.results[0].error) == (
        "server s1 finds no model 'localhost:5000/x/y:z' in the registry"
    )


async def test_server_that_says_success_and_lists_nothing_is_not_believed(
    client: Client, fleet: Fleet
) -> None:
    fakes = await fleet(1)
    fakes[0].script("/api/pull", Answer(200, b"".join(pull_progress("alpha"))))
    report = await pulled(client)
    assert kinds(report) == [UpstreamError]
    assert "says that it pulled 'alpha', and does not list it" in str(report.results[0].error)


async def test_server_that_is_silent_in_mid_layer_is_given_up(
    database_url: str, fleet: Fleet, client: Client
) -> None:
    fakes = await fleet(1)
    fakes[0].script("/api/pull", Raw((HEAD, progress_lines(until=3), asyncio.Event())))
    async with Client(database_url=database_url, environ={}, times=Times(idle=0.2)) as impatient:
        report = await pulled(impatient)
    assert kinds(report) == [StreamInterrupted]
    assert "sent nothing for 0.2 s in the middle of the pull" in str(report.results[0].error)


async def test_server_may_be_silent_while_it_checks_what_came(
    database_url: str, fleet: Fleet, client: Client
) -> None:
    """The digest of a large model takes minutes; nothing is sent meanwhile."""
    fakes = await fleet(1)
    go_on, lines = asyncio.Event(), pull_progress("alpha")
    first, rest = b"".join(map(encode_chunk, lines[:-2])), b"".join(map(encode_chunk, lines[-2:]))
    fakes[0].script("/api/pull", Raw((HEAD, first, go_on, rest + encode_chunk(b""))))
    fakes[0].point("alpha", ALPHA)
    async with Client(database_url=database_url, environ={}, times=Times(idle=0.1)) as impatient:
        pulls = await asked(impatient)
        working = asyncio.create_task(impatient.fleet.pulls.run(pulls))
        done, _ = await asyncio.wait([working], timeout=0.5)
        assert not done
        go_on.set()
        assert (await working).is_whole


async def test_server_that_is_not_there_fails_before_anything_is_pulled(
    client: Client, fleet: Fleet
) -> None:
    fakes = await fleet(2)
    await fakes[0].stop()
    assert kinds(await pulled(client)) == [ServerUnreachable, None]


async def test_layers_without_number_are_refused(client: Client, fleet: Fleet) -> None:
    fakes = await fleet(1)
    lines = [b'{"status":"x","digest":"sha256:%d","total":9}\n' % number for number in range(1001)]
    fakes[0].script("/api/pull", Answer(200, b"".join(lines)))
    report = await pulled(client)
    assert str(report.results[0].error) == "server s1 names more than 1000 layers of 'alpha'"


async def test_number_at_once_is_held(client: Client, fleet: Fleet) -> None:
    fakes = await fleet(4)
    running = peak = 0

    async def count(layer: Layer, completed: int) -> None:
        nonlocal running, peak
        if completed == 0 and layer.size == 9_900:
            running += 1
            peak = max(peak, running)
        await asyncio.sleep(0)

    for fake in fakes:
        fake.registry.before_piece = count

    def ended(result: PullResult) -> None:
        nonlocal running
        running -= 1

    await client.fleet.pulls.run(await asked(client), parallel=2, on_result=ended)
    assert peak == 2
    with pytest.raises(InvalidInput, match="1 or more"):
        await client.fleet.pulls.run(await asked(client), parallel=0)


async def test_stream_tells_progress_results_and_the_report(client: Client, fleet: Fleet) -> None:
    fakes = await fleet(2)
    events = [event async for event in client.fleet.pulls.stream(await asked(client), every=0)]
    progress = [event for event in events if isinstance(event, PullProgress)]
    results = [event for event in events if isinstance(event, PullResult)]
    assert {event.server.name for event in progress} == {"s1", "s2"}
    assert all(event.completed <= event.total for event in progress)
    assert sum(result.received for result in results) == sum(
        fake.registry.received for fake in fakes
    )
    assert isinstance(events[-1], PullReport)
    assert set(events[-1].results) == set(results)


async def test_twenty_servers_at_once_add_up_to_what_they_sent(
    client: Client, fleet: Fleet
) -> None:
    """One of them dies on the way, and one has a part of it from before."""
    fakes = await fleet(20)
    for fake in fakes:
        fake.registry.pieces = 30

    async def die(layer: Layer, completed: int) -> None:
        if completed >= layer.size / 2:
            raise PullFailedError("connection reset by peer")

    fakes[3].registry.before_piece = fakes[4].registry.before_piece = die
    pulls = await asked(client)
    await client.fleet.pulls.run(pulls[4:5])
    fakes[4].registry.before_piece = None
    before = fakes[4].registry.received
    latest: dict[tuple[int | None, str], PullProgress] = {}
    async for event in client.fleet.pulls.stream(pulls, every=0):
        if isinstance(event, PullProgress):
            assert event.completed >= latest.get(event.key, event).completed
            latest[event.key] = event
        elif isinstance(event, PullReport):
            report = event
    assert kinds(report) == [None] * 3 + [UpstreamError] + [None] * 16
    received = sum(result.received for result in report.results)
    assert received == sum(fake.registry.received for fake in fakes) - before
    assert all(result.completed == result.total == 10_000 for result in report.results[4:])
    assert len(report.builds[0].servers) == 19


async def test_reader_who_is_slow_gets_the_latest_of_each_server(
    client: Client, fleet: Fleet
) -> None:
    """Nothing piles up, however often servers tell how far they are."""
    [fake] = await fleet(1)
    fake.registry.pieces = 1000
    reading = client.fleet.pulls.stream(await asked(client), every=3600)
    async with aclosing(reading) as events:
        told = [event async for event in events]
    progress = [event for event in told if isinstance(event, PullProgress)]
    assert len(progress) <= 1
    assert fake.registry.received == ALPHA.size


async def test_reader_who_leaves_closes_every_connection(client: Client, fleet: Fleet) -> None:
    fakes = await fleet(5)
    silences = [Silence() for _ in fakes]
    for fake, silence in zip(fakes, silences, strict=True):
        fake.script("/api/pull", silence)
    reading = client.fleet.pulls.stream(await asked(client), every=0)
    async with aclosing(reading) as events:
        await anext(events)
        for silence in silences:
            await silence.arrived.wait()
    for fake in fakes:
        await fake.until(lambda fake=fake: bool(fake.abandoned))


async def test_pull_that_is_cancelled_leaves_a_row_in_the_audit(
    client: Client, fleet: Fleet
) -> None:
    [fake] = await fleet(1)
    half = asyncio.Event()

    async def hold(layer: Layer, completed: int) -> None:
        if completed:
            await asyncio.Event().wait()

    def hear(progress: PullProgress) -> None:
        if progress.completed:
            half.set()

    fake.registry.before_piece = hold
    pulls = await asked(client)
    working = asyncio.create_task(client.fleet.pulls.run(pulls, on_progress=hear))
    await half.wait()
    working.cancel()
    await asyncio.wait([working])
    assert await audited(client) == [("model alpha on server s1", "interrupted")]
    fake.registry.before_piece = None
    assert (await pulled(client)).is_whole
    assert fake.registry.received == ALPHA.size


async def test_connection_cut_anywhere_in_the_head_is_that_rows_error(
    client: Client, fleet: Fleet
) -> None:
    fakes = await fleet(1)
    for count in (1, 20, 60):
        fakes[0].script("/api/pull", CutAfter(count))
        [kind] = kinds(await pulled(client))
        assert kind is not None
        assert issubclass(kind, UpstreamError)
