"""Which of several servers that are equal by default and priority is asked first. Pure.

What is loaded, and how much runs where, are preferences: they never decide who may answer.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby

from ollama_admin.domain.servers import Server
from ollama_admin.rules.candidates import Candidate

SHARE = 1.25  # of the mean in flight: so much a server may carry, and one request more


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is known of a server now: whether it has the model in memory (None: not known), how many
    requests run there, and how many may. With `asked_last` it has failed a moment ago.
    """

    loaded: bool | None
    in_flight: int
    limit: int
    asked_last: bool = False

    @property
    def is_full(self) -> bool:
        return self.in_flight >= self.limit

    @property
    def free_share(self) -> float:
        """The part of its slots that is free, from 0 to 1."""
        return max(0.0, 1 - self.in_flight / max(1, self.limit))


def ordered(
    candidates: Sequence[Candidate], loads: Mapping[int, Load], affinity: bytes | None
) -> Sequence[Candidate]:
    """The candidates, best first, where each run of equals by default and priority is put in the
    order in which its servers are asked. A dynamic server stays where it is, and so does the order
    of unequal ones, but that those that are asked last come after all others. `loads` is by server
    id; what it lacks is taken from the row.

    Of equals come first those with a free slot, of these the ones that carry no more than their
    share (1.25 x the mean in flight of the equals, and one more), of these the ones that have the
    model loaded and are not busy, of these the ones that the affinity ranks highest, or without one
    those with the most free slots by share; then the older row.

    Loaded comes before affinity since a model takes seconds or minutes to load, and may push
    another one out, where a prompt is read again in a second or two. A server is busy when it
    carries more than 1.25 x the mean in flight of those that have not loaded the model, and one
    more: it is then as good as they are, and the affinity chooses among all. So a burst on a model
    that one of four servers has in memory does not queue there beside three idle ones, nor at three
    beside one: whose conversation belongs to an idle server has the model loaded there, and from
    then on it takes part. While traffic is so thin that no loaded server has two requests at a
    time, the others keep what they have in memory.

    Affinity is rendezvous hashing: each server gets a number from the affinity and its id, the same
    in every process, and the highest one wins. A server that is over its share, or comes or goes,
    moves only its own conversations, each to the server that is next by the same numbers.
    """
    if len(candidates) < 2:
        return candidates
    result: list[Candidate] = []
    for group in _groups(candidates):
        result += _in_order(group, loads, affinity)
    result.sort(key=lambda candidate: _is_asked_last(candidate, loads))  # the rest stays
    return result


def merits(
    candidates: Sequence[Candidate], loads: Mapping[int, Load], affinity: bytes | None
) -> Mapping[int, Sequence[str]]:
    """What speaks for and against each server that has an equal, in words, by server id."""
    words: dict[int, Sequence[str]] = {}
    for group in _groups(candidates):
        servers = _servers(group)
        if len(servers) > 1:
            words.update(_merits(servers, loads, affinity))
    return words


def _groups(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    for _, group in groupby(candidates, _rank):
        yield list(group)


def _rank(candidate: Candidate) -> tuple[bool, int] | None:
    server = candidate.server
    if server is None:
        return None
    return server.is_default, server.priority


def _servers(group: Sequence[Candidate]) -> list[Server]:
    return [candidate.server for candidate in group if candidate.server is not None]


def _in_order(
    group: list[Candidate], loads: Mapping[int, Load], affinity: bytes | None
) -> list[Candidate]:
    servers = _servers(group)
    if not servers:
        return group
    known = [_load(server, loads) for server in servers]
    most, most_at_loaded = _bound(known), _bound_of_loaded(known)
    keys = [
        (
            load.is_full,
            load.in_flight > most,
            not load.loaded or load.in_flight > most_at_loaded,
            -_score(affinity, server.id),
            -load.free_share,
            server.id,
            position,
        )
        for position, (server, load) in enumerate(zip(servers, known, strict=True))
    ]
    return [group[key[-1]] for key in sorted(keys)]


def _is_asked_last(candidate: Candidate, loads: Mapping[int, Load]) -> bool:
    if candidate.server is None:
        return False
    return _load(candidate.server, loads).asked_last


def _load(server: Server, loads: Mapping[int, Load]) -> Load:
    known = loads.get(server.id)
    if known is not None:
        return known
    return Load(loaded=None, in_flight=server.slots_in_use, limit=server.max_concurrent)


def _bound(loads: Sequence[Load]) -> float:
    """How many requests one of the equals may carry before the others are preferred to it."""
    return SHARE * sum(load.in_flight for load in loads) / len(loads) + 1


def _bound_of_loaded(loads: Sequence[Load]) -> float:
    """How many requests a server may carry and still be preferred for having the model loaded."""
    others = [load for load in loads if not load.loaded]
    return _bound(others) if others else math.inf


def _score(affinity: bytes | None, server_id: int) -> int:
    """How high an affinity ranks a server: the number that rendezvous hashing compares."""
    if affinity is None:
        return 0
    seed = affinity + server_id.to_bytes(8, "big")
    return int.from_bytes(blake2b(seed, digest_size=8).digest(), "big")


def _merits(
    servers: Sequence[Server], loads: Mapping[int, Load], affinity: bytes | None
) -> Iterator[tuple[int, Sequence[str]]]:
    known = {server.id: _load(server, loads) for server in servers}
    most = _bound(list(known.values()))
    home = None
    if affinity is not None:
        most_at_loaded = _bound_of_loaded(list(known.values()))
        loaded = [
            id_ for id_, load in known.items() if load.loaded and load.in_flight <= most_at_loaded
        ]
        home = max(loaded or known, key=lambda id_: _score(affinity, id_))
    for id_, load in known.items():
        yield id_, _words(load, most, is_home=id_ == home)


def _words(load: Load, most: float, *, is_home: bool) -> list[str]:
    free = max(0, load.limit - load.in_flight)
    words = [f"{free} of {load.limit} slots free"]
    if load.in_flight > most:
        words.insert(0, "more than its share in flight")
    if is_home:
        words.insert(0, "affinity")
    if load.loaded:
        words.insert(0, "loaded")
    if load.asked_last:
        words.insert(0, "asked last: it failed")
    return words
