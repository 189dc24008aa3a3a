"""Servers that stop and come back while a fleet is asked, one request after another."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum

from hypothesis import strategies as st

from tests.services.rules import Behaviour, Server

LARGEST_FLEET = 4


class Stop(StrEnum):
    """When a server stops, of one request."""

    BEFORE = "before it is asked"
    UNANSWERED = "with the prompt in hand"
    WHILE_ANSWERING = "after its first words"


# Of each request what the servers of the fleet do; one that does not stop is there, or there again.
Step = tuple[Stop | None, ...]
_stops = st.sampled_from([None, None, None, *Stop])
steps = st.lists(st.tuples(*[_stops] * LARGEST_FLEET), min_size=2, max_size=4)


def at_step(fleet: Sequence[Server], step: Step) -> tuple[Server, ...]:
    """What is true of the fleet at one request. Nothing is moved meanwhile: it would have to stay
    moved for the requests behind it.
    """
    return tuple(
        _that_stops(replace(server, move=None), stop)
        for server, stop in zip(fleet, step, strict=False)
    )


def as_it_may_be(fleet: Sequence[Server], *, is_first: bool) -> Iterator[tuple[Server, ...]]:
    """The fleet by what may be known of it, and come of it. Behind other requests each server may
    be one that has failed, or well again. One that closes a kept connection with a prompt in hand
    is asked once more, and may be gone by then: then it does not work on the prompt, and another
    one is asked.
    """
    health = itertools.product((False, True), repeat=len(fleet))
    for failed in [None] if is_first else health:
        known = fleet
        if failed is not None:
            known = [
                replace(server, has_failed=has_failed)
                for server, has_failed in zip(fleet, failed, strict=True)
            ]
        for fates in itertools.product(*map(_fates, known)):
            yield tuple(
                replace(server, answering=fate) for server, fate in zip(known, fates, strict=True)
            )


def _fates(server: Server) -> list[Behaviour]:
    if server.stops and server.answering is Behaviour.CLOSED:
        return [Behaviour.CLOSED, Behaviour.STOPPED]
    return [server.answering]


def allowed(
    fleets: Iterator[tuple[Server, ...]], check: Callable[[tuple[Server, ...]], None]
) -> list[tuple[Server, ...]]:
    """The fleets that pass the check; where none does, raise what it says of the first one."""
    passed: list[tuple[Server, ...]] = []
    errors: list[AssertionError] = []
    for fleet in fleets:
        try:
            check(fleet)
        except AssertionError as error:
            errors.append(error)
        else:
            passed.append(fleet)
    if not passed:
        raise errors[0]
    return passed


def _that_stops(server: Server, stop: Stop | None) -> Server:
    match stop:
        case None:
            return server
        case Stop.BEFORE:
            gone = Behaviour.REFUSED
            return replace(server, answering=gone, listing=gone, listing_afterwards=gone)
        case Stop.UNANSWERED:
            return replace(server, answering=Behaviour.CLOSED, stops=True)
        case Stop.WHILE_ANSWERING:
            return replace(server, answering=Behaviour.BREAKS, stops=True)
