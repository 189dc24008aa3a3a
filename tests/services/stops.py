"""Servers that stop and come back while a fleet is asked, one request after another."""

import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum

from hypothesis import strategies as st

from tests.services.rules import Behaviour, Server, Tag

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
    """What is true of the fleet at one request. What was moved by the request before it is back
    where it was.
    """
    return tuple(_that_stops(server, stop) for server, stop in zip(fleet, step, strict=False))


def as_it_may_be(
    fleet: Sequence[Server], *, is_first: bool, asked_before: Container[str] = ()
) -> Iterator[tuple[Server, ...]]:
    """The fleet by what may be known of it, and come of it. Behind other requests each server may
    be one that has failed, or well again, and of one that was asked its list may still be known as
    it was then. One that closes a kept connection with a prompt in hand is asked once more, and may
    be gone by then: then it does not work on the prompt, and another one is asked.
    """
    known = [_known(server, is_first, server.name in asked_before) for server in fleet]
    options = [
        [replace(variant, answering=fate) for variant in variants for fate in _fates(variant)]
        for variants in known
    ]
    return itertools.product(*options)


def _known(server: Server, is_first: bool, was_asked: bool) -> list[Server]:
    """A server by what may be known of its health, and of its list."""
    known = [server]
    if not is_first:
        known = [replace(server, has_failed=has_failed) for has_failed in (False, True)]
    if not was_asked:
        return known
    lists: list[tuple[Tag, ...] | None] = [None]
    if server.listing is not Behaviour.WELL:
        lists.append(server.tags)
    if server.move is not None:
        lists.append(server.tags_moved)
    return [replace(variant, remembered=tags) for variant in known for tags in lists]


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
