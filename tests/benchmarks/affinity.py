"""Conversations at four equal servers: prompt tokens that are read again, and who answers.

The order is that of `rules/balance.py`; servers, time and tokens are simulated, so that every run
counts the same.
"""

import heapq
import random
import time
import timeit
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count

from ollama_admin.domain.names import ModelName
from ollama_admin.domain.servers import ApiVersion, Target
from ollama_admin.rules.balance import Load, ordered
from ollama_admin.rules.candidates import Candidate, from_row
from tests.benchmarks.measuring import Note, Row, Told
from tests.rules import rows as registry

SERVERS = (1, 2, 3, 4)
SLOTS = 4  # requests that a server answers at once
CACHED = 8  # conversations whose tokens a server still has in memory
READ, WRITE = 2000.0, 40.0  # tokens/s
LOADING, KEPT = 30.0, 300.0  # seconds to load the model, and without a request until it goes
HOURS = 8
LASTS = 3600.0  # seconds in which conversations begin
ROUNDS = 50
BURST = 48  # conversations that begin at once

READ_AGAIN_BAR, LEAST_BAR, TIME_BAR = 0.5, 1.5, 10.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of conversation: tokens of its system prompt, tokens of what each turn adds and of
    each answer in turn, seconds between an answer and the next turn, and how many begin in an hour.
    """

    system: int
    turns: Sequence[tuple[int, int]]
    pause: float
    an_hour: int


_TALK = ((38, 310), (24, 420), (61, 280), (17, 190), (112, 530), (29, 240), (45, 350), (20, 160))
_PAPERS = ((2900, 340), (3400, 280), (40, 410), (3100, 360), (35, 220))
_FIX = ((620, 90), (2300, 120), (850, 160), (4100, 80), (310, 640), (1900, 110), (240, 90))
_AGENT = (*_FIX, (3600, 140), (150, 720), (980, 100), (2700, 90), (420, 380), *_FIX, *_FIX)

# Lengths as chats, chats over documents and two sizes of coding agents have them.
KINDS = (
    Kind(system=500, turns=_TALK, pause=45.0, an_hour=120),
    Kind(system=1800, turns=_PAPERS, pause=60.0, an_hour=60),
    Kind(system=9000, turns=_FIX * 2, pause=4.0, an_hour=30),
    Kind(system=20_000, turns=_AGENT, pause=3.0, an_hour=24),
)


@dataclass(slots=True)
class Conversation:
    id: int
    kind: Kind
    turn: int = 0
    tokens: int = 0  # that a server has read or written so far

    @property
    def affinity(self) -> bytes:
        return blake2b(self.id.to_bytes(8, "big"), digest_size=16).digest()


@dataclass(slots=True)
class Server:
    """`cached` has the tokens of the last conversations by id, the oldest first; `loaded_until` is
    the time until which the model stays in memory without a further request.
    """

    in_flight: int = 0
    answered: int = 0
    loaded_until: float = -1.0
    ready: float = 0.0
    cached: "OrderedDict[int, Conversation]" = field(default_factory=OrderedDict)


class Fleet:
    """Runs conversations to their ends. Without `with_affinity` requests have no key; with
    `in_order` the first server with a free slot is taken, as it was before there was an order.
    """

    def __init__(self, *, with_affinity: bool = True, in_order: bool = False) -> None:
        self._with_affinity = with_affinity
        self._in_order = in_order
        self._candidates = [_candidate(id_) for id_ in SERVERS]
        self.servers = {id_: Server() for id_ in SERVERS}
        self._events: list[tuple[float, int, Conversation, int | None]] = []
        self._numbers = count()
        self._waiting: deque[Conversation] = deque()
        self.read_again = 0

    def run(self, begins: Sequence[tuple[float, Conversation]]) -> None:
        for now, conversation in begins:
            self._at(now, conversation, None)
        while self._events:
            now, _, conversation, server_id = heapq.heappop(self._events)
            if server_id is None:
                self._waiting.append(conversation)
            else:
                self._end(now, conversation, server_id)
            while self._waiting and any(one.in_flight < SLOTS for one in self.servers.values()):
                self._begin(now, self._waiting.popleft())

    def _at(self, now: float, conversation: Conversation, server_id: int | None) -> None:
        heapq.heappush(self._events, (now, next(self._numbers), conversation, server_id))

    def _begin(self, now: float, conversation: Conversation) -> None:
        server_id = self._chosen(now, conversation)
        server, kind = self.servers[server_id], conversation.kind
        asked, answer = kind.turns[conversation.turn]
        known = self._known_there(server, conversation)
        self.read_again += conversation.tokens - min(known, conversation.tokens)
        if conversation.turn == 0:
            asked += kind.system
        read = conversation.tokens + asked - known
        conversation.tokens += asked + answer
        if server.loaded_until < now:
            server.ready = now + LOADING
            server.cached.clear()
        ends = max(now, server.ready) + max(0, read) / READ + answer / WRITE
        server.in_flight += 1
        server.loaded_until = max(server.loaded_until, ends + KEPT)
        self._at(ends, conversation, server_id)

    def _end(self, now: float, conversation: Conversation, server_id: int) -> None:
        server = self.servers[server_id]
        server.in_flight -= 1
        server.answered += 1
        server.cached[conversation.id] = conversation
        server.cached.move_to_end(conversation.id)
        for other in self.servers.values():
            if other is not server:  # it has an older state, of which little is of use
                other.cached.pop(conversation.id, None)
        if len(server.cached) > CACHED:
            server.cached.popitem(last=False)
        conversation.turn += 1
        if conversation.turn < len(conversation.kind.turns):
            self._at(now + conversation.kind.pause, conversation, None)

    def _known_there(self, server: Server, conversation: Conversation) -> int:
        """Tokens of the conversation that the server has in memory: all, or the system prompt."""
        if conversation.id in server.cached:
            return conversation.tokens
        if any(other.kind is conversation.kind for other in server.cached.values()):
            return conversation.kind.system
        return 0

    def _chosen(self, now: float, conversation: Conversation) -> int:
        if self._in_order:
            return next(id_ for id_ in SERVERS if self.servers[id_].in_flight < SLOTS)
        loads = {
            id_: Load(loaded=server.loaded_until >= now, in_flight=server.in_flight, limit=SLOTS)
            for id_, server in self.servers.items()
        }
        affinity = conversation.affinity if self._with_affinity else None
        first = ordered(self._candidates, loads, affinity)[0]
        assert first.server is not None
        return first.server.id


def rows(rounds: int | None) -> Iterator[Told]:
    """`rounds` are of the time that ordering takes; what is simulated is the same each time."""
    for name, traffic in (("usual", 1.0), ("half", 0.5), ("quarter", 0.25)):
        yield from _of_traffic(name, traffic)
    burst = [_burst(Fleet())]
    yield _evenness(f"the same in a burst of {BURST} on a model that one server has loaded", burst)
    yield _shares("burst", burst)
    yield Row(work="order of 4 candidates", unit="us", ours=_microseconds(rounds), bar=TIME_BAR)


def _of_traffic(name: str, traffic: float) -> Iterator[Told]:
    """Where traffic is thin, one server could answer all of it, and there is no bar."""
    is_thin = traffic < 0.5
    fleets = _hours(traffic)
    yield Row(
        work=f"prompt tokens read again in {HOURS} hours, {name} traffic",
        unit="k",
        ours=_read_again(fleets),
        floor=_read_again(_hours(traffic, in_order=True)),
        bar=None if is_thin else READ_AGAIN_BAR,
    )
    if not is_thin:
        yield _evenness(f"requests of a mean server / of the one with the fewest, {name}", fleets)
    without = _read_again(_hours(traffic, with_affinity=False))
    yield Note(f"{name} traffic, without affinity: {without:.0f} k read again")
    yield _shares(f"{name} traffic", fleets)


def _read_again(fleets: Sequence[Fleet]) -> float:
    """In thousands of tokens."""
    return sum(fleet.read_again for fleet in fleets) / 1000


def _answered(fleets: Sequence[Fleet]) -> list[int]:
    return [sum(fleet.servers[id_].answered for fleet in fleets) for id_ in SERVERS]


def _evenness(work: str, fleets: Sequence[Fleet]) -> Row:
    answered = _answered(fleets)
    ratio = sum(answered) / len(answered) / max(1, min(answered))
    return Row(work=work, unit="x", ours=ratio, bar=LEAST_BAR)


def _shares(name: str, fleets: Sequence[Fleet]) -> Note:
    answered = _answered(fleets)
    shares = ", ".join(f"{100 * one / sum(answered):.0f}" for one in answered)
    return Note(f"{name}, requests of each server: {shares} %")


def _hours(traffic: float, **how: bool) -> list[Fleet]:
    """Some hours, each of its own, in which conversations of all kinds begin at times that are the
    same in each run.
    """
    return [_hour(Fleet(**how), traffic, seed) for seed in range(HOURS)]


def _hour(fleet: Fleet, traffic: float, seed: int) -> Fleet:
    chance, ids = random.Random(seed), count()
    begins = [
        (chance.uniform(0, LASTS), Conversation(next(ids), kind))
        for kind in KINDS
        for _ in range(round(kind.an_hour * traffic))
    ]
    fleet.run(begins)
    return fleet


def _burst(fleet: Fleet) -> Fleet:
    """Short agents all at once, when the first server alone has the model loaded."""
    fleet.servers[1].loaded_until = KEPT
    fleet.run([(0.0, Conversation(number, KINDS[2])) for number in range(BURST)])
    return fleet


def _microseconds(rounds: int | None) -> float:
    candidates = [_candidate(id_) for id_ in SERVERS]
    loads = {id_: Load(loaded=True, in_flight=id_ % 3, limit=SLOTS) for id_ in SERVERS}
    times = timeit.repeat(
        lambda: ordered(candidates, loads, b"a conversation k"),
        timer=time.process_time,
        number=1000,
        repeat=rounds or ROUNDS,
    )
    return min(times) / 1000 * 1e6


def _candidate(id_: int) -> Candidate:
    server = registry.server(id_, max_concurrent=SLOTS)
    target = Target(ref=server.ref, api_version=ApiVersion.NATIVE)
    return from_row(target, server, registry.model(id_), ModelName.parse("alpha"))
