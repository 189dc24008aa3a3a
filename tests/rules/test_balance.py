"""Which of several equal servers is asked first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.names import ModelName
from ollama_admin.domain.servers import ApiVersion, ServerRef, Target
from ollama_admin.rules.balance import SHARE, Load, merits, ordered
from ollama_admin.rules.candidates import Candidate, from_row
from tests.rules.rows import model, server

NAME = ModelName.parse("alpha")


def candidate(id_: int, **columns: Any) -> Candidate:
    row = server(id_, **{"max_concurrent": 4, **columns})
    target = Target(ref=row.ref, api_version=ApiVersion.NATIVE)
    return from_row(target, row, model(id_), NAME)


def dynamic(number: int) -> Candidate:
    ref = ServerRef(id=None, name=None, url=f"http://dynamic-{number}")
    target = Target(ref=ref, api_version=ApiVersion.NATIVE)
    return replace(candidate(1), target=target, server=None)


def equals(*ids: int) -> list[Candidate]:
    return [candidate(id_) for id_ in ids]


def load(in_flight: int = 0, limit: int = 4, *, loaded: bool | None = None) -> Load:
    return Load(loaded=loaded, in_flight=in_flight, limit=limit)


def ids(candidates: Sequence[Candidate]) -> list[int | None]:
    return [one.target.ref.id for one in candidates]


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


# a fleet: candidates in the order of a plan, with loads for some of them


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Candidate], dict[int, Load]]:
    ranks = st.tuples(st.booleans(), st.integers(0, 2))
    drawn = sorted(draw(st.lists(ranks, min_size=0, max_size=7)), reverse=True)
    candidates = [
        candidate(id_, is_default=is_default, priority=priority)
        for id_, (is_default, priority) in enumerate(drawn, 1)
    ]
    for number in range(draw(st.integers(0, 2))):
        candidates.insert(draw(st.integers(0, len(candidates))), dynamic(number))
    some_load = st.builds(
        Load,
        loaded=st.sampled_from([True, False, None]),
        in_flight=st.integers(0, 12),
        limit=st.integers(1, 12),
    )
    known = st.dictionaries(st.integers(1, 7), some_load)
    return candidates, draw(known)


affinities = st.none() | st.binary(min_size=16, max_size=16)


def rank(one: Candidate) -> tuple[bool, int] | None:
    return None if one.server is None else (one.server.is_default, one.server.priority)


@given(fleets(), affinities)
def test_the_order_is_a_permutation_in_which_unequal_servers_keep_their_places(
    fleet: tuple[list[Candidate], dict[int, Load]], affinity: bytes | None
) -> None:
    candidates, loads = fleet
    order = ordered(candidates, loads, affinity)
    assert sorted(map(id, order)) == sorted(map(id, candidates))
    assert [rank(one) for one in order] == [rank(one) for one in candidates]
    places = [place for place, one in enumerate(candidates) if one.server is None]
    assert all(order[place] is candidates[place] for place in places)


@given(fleets(), affinities)
def test_the_order_is_the_same_each_time_and_of_itself(
    fleet: tuple[list[Candidate], dict[int, Load]], affinity: bytes | None
) -> None:
    candidates, loads = fleet
    order = ordered(candidates, loads, affinity)
    assert ids(ordered(order, loads, affinity)) == ids(order)


@given(
    st.lists(
        st.builds(Load, loaded=st.booleans(), in_flight=st.integers(0, 40), limit=st.just(99)),
        min_size=2,
        max_size=8,
    ),
    affinities,
)
def test_the_first_of_equals_never_carries_more_than_its_share(
    known: list[Load], affinity: bytes | None
) -> None:
    loads = dict(enumerate(known, 1))
    first = ordered(equals(*loads), loads, affinity)[0]
    mean = sum(one.in_flight for one in known) / len(known)
    assert first.server is not None
    assert loads[first.server.id].in_flight <= SHARE * mean + 1


@given(fleets(), affinities)
def test_a_full_server_comes_after_every_equal_that_has_a_free_slot(
    fleet: tuple[list[Candidate], dict[int, Load]], affinity: bytes | None
) -> None:
    candidates, loads = fleet
    for one, other in zip(
        ordered(candidates, loads, affinity), ordered(candidates, loads, affinity)[1:], strict=False
    ):
        if rank(one) != rank(other) or one.server is None or other.server is None:
            continue
        known = [loads.get(server.id, load()) for server in (one.server, other.server)]
        assert not (known[0].is_full and not known[1].is_full)


@pytest.mark.parametrize("count", [2, 4, 7])
def test_a_server_that_is_added_takes_about_its_part_of_the_conversations_and_no_other_moves(
    count: int,
) -> None:
    before, after = equals(*range(1, count + 1)), equals(*range(1, count + 2))
    keys = [key(number) for number in range(2000)]
    moved = 0
    for one in keys:
        old, new = ids(ordered(before, {}, one))[0], ids(ordered(after, {}, one))[0]
        if old != new:
            assert new == count + 1
            moved += 1
    assert 0.8 < moved * (count + 1) / len(keys) < 1.2


def test_conversations_are_spread_evenly() -> None:
    firsts = Counter(ids(ordered(equals(1, 2, 3, 4), {}, key(n)))[0] for n in range(4000))
    assert all(900 < count < 1100 for count in firsts.values())


def test_a_server_that_is_skipped_leaves_the_order_of_the_others_as_it_was() -> None:
    candidates = equals(1, 2, 3, 4)
    for number in range(200):
        usual = ids(ordered(candidates, {}, key(number)))
        busy = {usual[0]: load(2)}
        assert ids(ordered(candidates, busy, key(number))) == [*usual[1:], usual[0]]


def test_the_order_is_the_same_in_every_process() -> None:
    """Written down: who changes the hash moves every conversation of every fleet once."""
    orders = [ids(ordered(equals(1, 2, 3, 4), {}, key(number))) for number in range(3)]
    assert orders == ORDERS


ORDERS = [[1, 3, 4, 2], [4, 3, 2, 1], [2, 3, 4, 1]]


def test_one_candidate_is_handed_back_as_it_is() -> None:
    candidates = equals(1)
    assert ordered(candidates, {}, key(1)) is candidates
    assert ordered([], {}, key(1)) == []


def test_loaded_comes_before_affinity_and_affinity_chooses_among_the_loaded() -> None:
    candidates = equals(1, 2, 3, 4)
    for number in range(100):
        usual = ids(ordered(candidates, {}, key(number)))
        loads = {1: load(loaded=True), 3: load(loaded=True), 2: load(loaded=False)}
        order = ids(ordered(candidates, loads, key(number)))
        assert order[:2] == [one for one in usual if one in (1, 3)]
        assert order[2:] == [one for one in usual if one in (2, 4)]


def test_without_affinity_the_most_free_slots_by_share_decide_and_then_the_older_row() -> None:
    candidates = equals(1, 2, 3)
    loads = {1: load(2, 4), 2: load(2, 8), 3: load(2, 8)}
    assert ids(ordered(candidates, loads, None)) == [2, 3, 1]
    assert ids(ordered(candidates, {}, None)) == [1, 2, 3]


def test_what_no_load_is_given_for_is_taken_from_the_row() -> None:
    candidates = [candidate(1, slots_in_use=4), candidate(2, slots_in_use=1)]
    assert ids(ordered(candidates, {}, None)) == [2, 1]


def test_a_default_server_and_a_priority_come_before_everything_that_is_preferred() -> None:
    candidates = [candidate(3, is_default=True), candidate(2, priority=5), *equals(1, 4)]
    loads = {4: load(loaded=True), 3: load(3), 2: load(3)}
    assert ids(ordered(candidates, loads, key(1))) == [3, 2, 4, 1]


def burst(
    requests: int, loads: Mapping[int, Load], affinity: bytes | None = None
) -> dict[int, Load]:
    """Requests that come at once: each has the model loaded, from then on, where it went."""
    known = dict(loads)
    for number in range(requests):
        order = ordered(equals(*known), known, affinity or key(number))
        first = order[0].target.ref.id
        assert first is not None
        known[first] = replace(known[first], loaded=True, in_flight=known[first].in_flight + 1)
    return known


def test_a_burst_on_a_model_that_one_of_four_has_in_memory_reaches_all_four() -> None:
    loads = {1: load(loaded=True), 2: load(), 3: load(), 4: load()}
    after = burst(14, loads)
    assert all(one.in_flight > 0 for one in after.values())
    assert max(one.in_flight for one in after.values()) == 4


def test_three_that_have_the_model_do_not_keep_the_work_from_the_fourth() -> None:
    """Their mean is so near to that of all four that the share alone would not reach it."""
    loads = {id_: load(2, limit=99, loaded=id_ != 4) for id_ in (1, 2, 3)} | {4: load(limit=99)}
    after = burst(60, loads)
    counts = [one.in_flight for one in after.values()]
    assert sum(counts) == 66
    assert min(counts) > 5


def test_a_busy_server_is_left_only_by_those_who_belong_elsewhere() -> None:
    loads = {1: load(2, loaded=True), 2: load(2, loaded=True), 3: load(2, loaded=True), 4: load()}
    for number in range(100):
        home = ids(ordered(equals(1, 2, 3, 4), {}, key(number)))[0]
        assert ids(ordered(equals(1, 2, 3, 4), loads, key(number)))[0] == home


def test_two_requests_at_a_time_stay_where_the_model_is_in_memory() -> None:
    after = burst(2, {1: load(loaded=True), 2: load(), 3: load(), 4: load()})
    assert [one.in_flight for one in after.values()] == [2, 0, 0, 0]


def test_a_burst_of_one_conversation_does_not_pile_up_at_its_server() -> None:
    """The agents that a coding tool starts side by side have one session."""
    after = burst(12, {id_: load(loaded=True, limit=99) for id_ in (1, 2, 3, 4)}, key(7))
    assert max(one.in_flight for one in after.values()) <= SHARE * 12 / 4 + 2


def test_merits_say_in_words_what_the_order_goes_by() -> None:
    loads = {1: load(2, loaded=True), 2: load(0), 3: load(9, 8, loaded=False)}
    words = merits([*equals(1, 2, 3), candidate(4, priority=-1)], loads, key(1))
    assert words == {
        1: ["loaded", "affinity", "2 of 4 slots free"],
        2: ["4 of 4 slots free"],
        3: ["more than its share in flight", "0 of 8 slots free"],
    }


def test_the_affinity_is_named_at_the_server_that_it_leads_to() -> None:
    candidates = equals(1, 2, 3)
    for number in range(50):
        [home] = [
            id_ for id_, words in merits(candidates, {}, key(number)).items() if "affinity" in words
        ]
        assert home == ids(ordered(candidates, {}, key(number)))[0]


@pytest.mark.parametrize(
    ("in_flight", "limit", "share"),
    [(0, 4, 1.0), (3, 4, 0.25), (4, 4, 0.0), (5, 4, 0.0), (0, 0, 1.0), (1, 1, 0.0)],
)
def test_the_free_share_is_a_part_of_the_slots(in_flight: int, limit: int, share: float) -> None:
    assert load(in_flight, limit).free_share == share


def leading_to(home: int, candidates: list[Candidate]) -> bytes:
    """An affinity that ranks this one highest."""
    return next(
        key(number)
        for number in range(1000)
        if ids(ordered(candidates, {}, key(number)))[0] == home
    )


def test_a_server_that_carries_just_its_share_is_not_over_it() -> None:
    """The share is 6 of 8 in flight at two servers: 1.25 x 4, and one more."""
    candidates = equals(1, 2)
    affinity = leading_to(1, candidates)
    loads = {1: load(6, 100), 2: load(2, 100)}
    assert ids(ordered(candidates, loads, affinity)) == [1, 2]
    assert merits(candidates, loads, affinity) == {
        1: ["affinity", "94 of 100 slots free"],
        2: ["98 of 100 slots free"],
    }
    loads = {1: load(7, 100), 2: load(2, 100)}
    assert ids(ordered(candidates, loads, affinity)) == [2, 1]
    assert merits(candidates, loads, affinity)[1] == [
        "affinity",
        "more than its share in flight",
        "93 of 100 slots free",
    ]


def test_a_server_with_the_model_in_memory_is_the_home_until_it_is_busy() -> None:
    """It is busy with more than one request while the other one is idle."""
    candidates = equals(1, 2)
    affinity = leading_to(2, candidates)
    for in_flight, home in [(1, 1), (2, 2)]:
        loads = {1: load(in_flight, 100, loaded=True), 2: load(0, 100, loaded=False)}
        words = merits(candidates, loads, affinity)
        assert [id_ for id_, said in words.items() if "affinity" in said] == [home]
        assert ids(ordered(candidates, loads, affinity))[0] == home


# servers that have failed a moment ago

FAILED = Load(loaded=True, in_flight=0, limit=4, asked_last=True)


def test_a_server_that_failed_comes_after_all_others_whatever_speaks_for_it() -> None:
    candidates = [
        candidate(1, is_default=True, priority=9),
        candidate(2, priority=5),
        candidate(3),
    ]
    assert ids(ordered(candidates, {1: FAILED}, None)) == [2, 3, 1]
    assert ids(ordered(candidates, {2: FAILED}, None)) == [1, 3, 2]


def test_servers_that_failed_keep_their_order_among_themselves() -> None:
    candidates = [candidate(1, priority=9), candidate(2, priority=5), candidate(3)]
    loads = dict.fromkeys((1, 2, 3), FAILED)
    assert ids(ordered(candidates, loads, None)) == [1, 2, 3]
    assert ids(ordered(candidates, {1: FAILED, 2: FAILED}, None)) == [3, 1, 2]


def test_it_is_said_of_a_server_that_failed() -> None:
    words = merits(equals(1, 2), {1: FAILED}, None)
    assert words[1] == ["asked last: it failed", "loaded", "4 of 4 slots free"]
    assert words[2] == ["4 of 4 slots free"]


@given(fleets(), st.sets(st.integers(1, 7)))
def test_who_failed_changes_the_order_and_nobody_is_left_out(
    fleet: tuple[list[Candidate], dict[int, Load]], failed: set[int]
) -> None:
    candidates, loads = fleet
    before = ordered(candidates, loads, None)
    marked = dict(loads)
    for one in candidates:
        id_ = one.target.ref.id
        if id_ in failed:
            known = loads.get(id_) or Load(loaded=None, in_flight=0, limit=4)
            marked[id_] = replace(known, asked_last=True)
    after = ordered(candidates, marked, None)
    assert sorted(map(id, after)) == sorted(map(id, candidates))
    well = [one for one in before if one.target.ref.id not in failed]
    assert ids(after)[: len(well)] == ids(well)
