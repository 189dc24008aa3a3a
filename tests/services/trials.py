"""Random fleets and requests, the rows that tell of them, and the comparison of what came out with
the rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from sqlalchemy import Connection, delete, func, insert, select

from ollama_admin.domain.names import model_key
from ollama_admin.rules.health import LONGEST
from ollama_admin.store import clocks
from ollama_admin.store import pins as pin_store
from ollama_admin.store.tables import models, pins, servers, slots
from tests.services.asking import Outcome
from tests.services.rules import (
    Asked,
    Behaviour,
    Kind,
    Move,
    Place,
    Server,
    Tag,
    When,
    verdict,
)

T = TypeVar("T")

CONSTANT_DIGESTS = "koboldcpp"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
CLOUD = "alpha:7b-cloud"

SPELLINGS = (
    *("alpha", "alpha:latest", "Alpha", "ALPHA:Latest"),
    *("library/alpha", "Registry.Ollama.AI/library/alpha:latest"),
)
ALPHA = (Tag(name="alpha:latest", build="a"),)
OTHER_ALPHA = (Tag(name="alpha:latest", build="b"),)
SHOUTED = (Tag(name="Alpha:LATEST", build="a"), Tag(name="beta:latest", build="a"))
SELDOM_LISTED = (
    (Tag(name="alpha:latest", build="f"),),
    (Tag(name="alpha:latest"),),
    (Tag(name="alpha:latest", build="a"), Tag(name="ALPHA:latest", build="b")),
    (Tag(name=CLOUD, build="a"),),
    (Tag(name="beta:latest", build="a"),),
)
AWAY = (
    Behaviour.REFUSED,
    Behaviour.CLOSED,
    Behaviour.S502,
    Behaviour.S503,
    Behaviour.S504,
    Behaviour.S404,
)
WELL = Behaviour.WELL
DRAWN = [fate for fate in Behaviour if fate not in (WELL, Behaviour.STOPPED)]
MOVES = tuple(Move(build=build, when=when) for build in ("a", "b", "f", None) for when in When)
FAILINGS = (Behaviour.REFUSED, Behaviour.S503, Behaviour.S500)


def _any(*options: T) -> st.SearchStrategy[T]:
    """One of these; what is likelier is there more than once."""
    return st.sampled_from(options)


EVERY_MODEL = _any(*SPELLINGS * 3, CLOUD, "beta")
OPAQUE_MODEL = _any("alpha", "alpha", "alpha:latest", "Alpha", "beta")
LIKELY_LIST = _any(ALPHA, ALPHA, ALPHA, SHOUTED, OTHER_ALPHA)
EVERY_LIST = _any(*[ALPHA, SHOUTED] * 3, *[OTHER_ALPHA] * 2, *SELDOM_LISTED)
EVERY_NOW = _any(*["as listed"] * 10, "a", "b", "c", "f", "gone")
LIKELY_ANSWERING = _any(
    *[WELL] * 8, *AWAY, Behaviour.S429, Behaviour.S500, Behaviour.SILENT, Behaviour.BREAKS
)
EVERY_ANSWERING = _any(*[WELL] * 20, *AWAY, *DRAWN)
TROUBLE: st.SearchStrategy[Mapping[str, Any]] = _any(
    *[{}] * 20,
    *[{"move": move} for move in MOVES] * 2,
    *[{"listing": fate} for fate in FAILINGS],
    *[{"listing_afterwards": fate} for fate in FAILINGS],
    {"move": MOVES[1], "listing_afterwards": Behaviour.S500},
)
LIKELY_KIND = _any(Kind.NATIVE, Kind.NATIVE, Kind.V1)
EVERY_KIND = _any(*[Kind.NATIVE] * 6, Kind.V1, Kind.V1, Kind.OTHER, Kind.EMULATION)
FULL: Mapping[str, Any] = {"is_full": True}
LIKELY_STANDING = _any({}, {}, {}, {"priority": 1}, {"priority": 1}, FULL)
EVERY_STANDING: st.SearchStrategy[Mapping[str, Any]] = _any(
    *[{}] * 6,
    *[{"priority": 1}] * 4,
    {"is_active": False},
    {"is_active": False, "is_full": True},
    {"is_checked": False, "catalogue": ()},
    *[{"catalogue": ()}] * 2,
    *[FULL] * 2,
)
EVERY_PLACE = _any(*[None] * 6, Place.SERVER, Place.SERVER, Place.URL, Place.V1_URL)
EVERY_DEMAND: st.SearchStrategy[Mapping[str, Any]] = _any(
    *[{}] * 8,
    *[{"digest": build} for build in ("a", "a", "b", "c", "f")],
    *[{"verified": True}] * 3,
    *[{"no_verify": True}] * 2,
)
EVERY_PIN = _any(*[None] * 10, "a", "a", "b")
LEAVE = _any(False, False, False, True)
NUMBER = st.integers(0, 3)
DEFAULT = st.integers(0, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One request to one fleet."""

    fleet: tuple[Server, ...]
    asked: Asked


@dataclass(slots=True, kw_only=True)
class Seen:
    """What became of a trial: for a person, and at the servers (the names that each was asked for,
    in order).
    """

    outcome: Outcome
    sent: dict[str, list[str]] = field(default_factory=dict)
    spoke: list[str] = field(default_factory=list)


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    """Every second fleet is one that mostly agrees, so that servers often follow one another."""
    count, at, place = draw(NUMBER) + 1, draw(NUMBER), draw(EVERY_PLACE)
    default = draw(DEFAULT)
    make = _likely if draw(st.booleans()) else _unlikely
    fleet = [
        replace(make(draw, f"server-{i}"), is_default=i == default, has_failed=draw(LEAVE))
        for i in range(count)
    ]
    at = min(at, count - 1)
    if place in (Place.URL, Place.V1_URL) and draw(st.booleans()):
        fleet[at] = replace(fleet[at], is_registered=False, is_default=False, is_full=False)
        if fleet[at].kind in (Kind.V1, Kind.OTHER):
            place = Place.V1_URL
    asked = Asked(
        model=draw(EVERY_MODEL),
        place=place,
        at=at,
        pin=draw(EVERY_PIN),
        allow_remote=draw(LEAVE),
        **draw(EVERY_DEMAND),
    )
    return Trial(fleet=tuple(fleet), asked=asked)


def _likely(draw: st.DrawFn, name: str) -> Server:
    """A server with the build that most have; it may well be away, full, or not what it was."""
    listed = draw(LIKELY_LIST)
    told = {
        "kind": draw(LIKELY_KIND),
        "catalogue": listed,
        "tags": _now(listed, draw(EVERY_NOW)),
        "answering": draw(LIKELY_ANSWERING),
    }
    return Server(name=name, **told, **draw(LIKELY_STANDING), **draw(TROUBLE))


def _unlikely(draw: st.DrawFn, name: str) -> Server:
    """A server with anything that the rules have a word for."""
    kind, now = draw(EVERY_KIND), draw(EVERY_NOW)
    is_opaque = kind is Kind.OTHER
    listed = (Tag(name=draw(OPAQUE_MODEL)),) if is_opaque else draw(EVERY_LIST)
    told = {
        "kind": kind,
        "catalogue": listed,
        "tags": _now(listed, "as listed" if is_opaque and now != "gone" else now),
        "answering": draw(EVERY_ANSWERING),
    }
    return Server(name=name, **{**told, **draw(EVERY_STANDING), **draw(TROUBLE)})


def _now(listed: tuple[Tag, ...], now: str) -> tuple[Tag, ...]:
    """The list as it stands; a build that the catalogue did not tell is an `a`."""
    if now == "gone":
        return ()
    return tuple(
        replace(tag, build=(tag.build or "a") if now == "as listed" else now) for tag in listed
    )


def digest(build: str) -> str:
    return build * 64


def says(build: str) -> str:
    return f"I am {build}"


def store(
    connection: Connection, trial: Trial, urls: Mapping[str, str], held_slot: Mapping[str, Any]
) -> None:
    """Write rows that say what the trial says is known, in the place of all others."""
    connection.execute(delete(servers))  # models and slots go with them
    connection.execute(delete(pins))
    rows = [
        (number, server) for number, server in enumerate(trial.fleet, 1) if server.is_registered
    ]
    if rows:
        connection.execute(
            insert(servers),
            [server_row(number, server, urls[server.name]) for number, server in rows],
        )
    if held := [
        model_row(number, server, tag) for number, server in rows for tag in server.catalogue
    ]:
        connection.execute(insert(models), held)
    if full := [
        {"server_id": number, "slot": 1, **held_slot} for number, server in rows if server.is_full
    ]:
        connection.execute(insert(slots), full)
    if trial.asked.pin is not None:
        pin_store.put(connection, trial.asked.model, digest(trial.asked.pin))


def held_slot(connection: Connection) -> dict[str, Any]:
    """The columns of a slot that somebody else holds for longer than any test runs."""
    clock = clocks.CLOCKS[connection.dialect.name]
    name, now = connection.execute(select(clock.name, clock.now), clocks.moment(connection)).one()
    return {"token": 1, "holder": "somebody", "clock": name, "expires_at": now + clocks.LONGEST_TTL}


def slots_held(connection: Connection) -> int:
    return int(
        connection.scalar(select(func.count()).select_from(slots).where(slots.c.expires_at > 0))
        or 0
    )


def keywords(asked: Asked, url: str, number: int) -> dict[str, Any]:
    """The request as the client takes it."""
    destinations: dict[Place | None, dict[str, Any]] = {
        None: {},
        Place.SERVER: {"server": number},
        Place.URL: {"server_url": url},
        Place.V1_URL: {"server_url": f"{url}/v1"},
    }
    return destinations[asked.place] | {
        "model": asked.model,
        "digest": asked.digest and digest(asked.digest),
        "verified": asked.verified,
        "no_verify": asked.no_verify,
        "allow_remote": asked.allow_remote,
        "wait": 0,
    }


def compare(trial: Trial, urls: Mapping[str, str], seen: Seen) -> None:
    """Raise AssertionError unless the rules allow what came out, and all of it."""
    due, outcome = verdict(trial.fleet, trial.asked), seen.outcome
    assert due.sent <= set(seen.sent) <= due.sent | due.maybe_sent, (
        f"{due}: the prompt was sent to {seen.sent}"
    )
    assert all(len(names) == 1 for names in seen.sent.values()), f"{seen.sent}"
    assert len(seen.spoke) <= 1
    if due.answer is None:
        _compare_error(due.errors, due.shown, outcome)
        return
    reply, build = outcome.accepted, due.answer.build or ""
    proof = str(reply.proof)
    assert proof in due.answer.proofs, f"{proof}, not {due.answer.proofs}: {trial}"
    assert reply.verified == (proof == "digest")
    assert reply.server.url == urls[due.answer.server]
    assert seen.sent[due.answer.server] == [reply.model] == [due.answer.name]
    assert outcome.text == reply.response == says(build)
    if reply.verified:
        assert reply.digest == digest(due.answer.proven or "")
    if proof == "drift":
        assert reply.drift is not None
        assert reply.drift.after == digest(build)


def _compare_error(codes: frozenset[str], shown: str | None, outcome: Outcome) -> None:
    assert outcome.error is not None, f"{sorted(codes)} is due, and {outcome.reply} was accepted"
    assert outcome.error.code in codes, f"{sorted(codes)} is due, not {outcome.error!r}"
    assert outcome.reply is None
    assert (
        outcome.text == ""
        if shown is None
        else says(shown).startswith(outcome.text) and outcome.text
    )


def server_row(number: int, server: Server, url: str) -> dict[str, Any]:
    """A row that was seen just now: what a process knows of another trial's servers is older."""
    is_checked, now = server.is_checked, datetime.now(UTC)
    asked_last_until = None
    if server.has_failed:
        asked_last_until = now + timedelta(seconds=LONGEST)
    return {
        "id": number,
        "name": server.name,
        "name_key": server.name,
        "url": url,
        "api_version": "v1" if server.kind in (Kind.V1, Kind.OTHER) else "native",
        "capabilities": [],
        "max_concurrent": 1,
        "priority": server.priority,
        "is_default": server.is_default,
        "is_active": server.is_active,
        "auth_config": {},
        "headers": {},
        "status": "online" if is_checked else "unknown",
        "version": "0.33.0" if is_checked and server.is_ollama else None,
        "last_seen_at": LONG_AGO if is_checked else None,
        "status_at": now,
        "failures": int(server.has_failed),
        "asked_last_until": asked_last_until,
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    }


def model_row(number: int, server: Server, tag: Tag) -> dict[str, Any]:
    is_remote = tag.build == "f"
    return {
        "server_id": number,
        "name": tag.name,
        "name_key": model_key(tag.name),
        "digest": tag.build and digest(tag.build),
        "family": CONSTANT_DIGESTS if server.kind is Kind.EMULATION else None,
        "remote_host": "https://elsewhere.test" if is_remote else None,
        "remote_model": "big" if is_remote else None,
        "is_available": True,
        "first_seen_at": LONG_AGO,
        "last_seen_at": LONG_AGO,
    }
