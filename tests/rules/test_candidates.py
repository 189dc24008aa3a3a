"""Which candidate a row or a server's own list makes, the build that it must answer with, and why
it may not be asked.
"""

from dataclasses import replace
from typing import Any

import pytest

from ollama_admin.domain.models import CONSTANT_DIGESTS, ListedModel
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.requests import Terms
from ollama_admin.domain.servers import ApiVersion, ServerRef, Target
from ollama_admin.errors import AdminError, InvalidInput, ModelMismatch, RemoteNotAllowed
from ollama_admin.rules.candidates import (
    Candidate,
    Demand,
    demand_of,
    from_list,
    from_row,
    is_demanded,
    refusal,
    without_demand,
)
from tests.rules.rows import NEVER_CHECKED, NOT_OLLAMA, OLLAMA, model, server

GPU = ServerRef(id=7, name="gpu", url="http://gpu")
UNREGISTERED = ServerRef(id=None, name=None, url="http://elsewhere")
NATIVE = Target(ref=GPU, api_version=ApiVersion.NATIVE)
V1 = Target(ref=GPU, api_version=ApiVersion.V1)
ALPHA = ModelName.parse("alpha")
A, B = "a" * 64, "b" * 64
KNOWN = ListedModel(name="alpha:latest", digest=A)
EMULATED = replace(KNOWN, family=CONSTANT_DIGESTS)
ELSEWHERE = replace(KNOWN, remote_host="https://far.example")
V1_LACKS = {ApiVersion.V1: "--think"}


def candidate(target: Target = NATIVE, stored: str | None = None, **differing: Any) -> Candidate:
    """A candidate that lists alpha itself."""
    listed = differing.pop("listed", KNOWN)
    listing = from_list(target, None, ALPHA, listed, "0.33.0", is_ollama=True)
    return replace(listing, stored_digest=stored, **differing)


# what a candidate is


def test_a_candidate_of_the_catalogue_is_what_the_row_and_its_server_say() -> None:
    holder, row = server(7), model(7, "Alpha:latest", digest=A)
    assert from_row(NATIVE, holder, row, ALPHA) == Candidate(
        target=NATIVE,
        server=holder,
        name=replace(ALPHA, text="Alpha:latest"),
        listed=row,
        is_listed_now=False,
        version=holder.version,
        is_remote=False,
        shows_digests=True,
        stored_digest=A,
    )


@pytest.mark.parametrize("holder", [None, server(7)], ids=["a dynamic server", "a row"])
def test_a_candidate_of_a_servers_own_list_is_spelt_as_it_is_there(holder: Any) -> None:
    listed = replace(KNOWN, name="Alpha:latest")
    assert from_list(NATIVE, holder, ALPHA, listed, "0.33.0", is_ollama=True) == Candidate(
        target=NATIVE,
        server=holder,
        name=replace(ALPHA, text="Alpha:latest"),
        listed=listed,
        is_listed_now=True,
        version="0.33.0",
        is_remote=False,
        shows_digests=True,
    )


def test_a_server_whose_list_lacks_the_model_is_asked_for_the_name_as_it_was_given() -> None:
    asked = from_list(NATIVE, None, ALPHA, None, "0.33.0", is_ollama=True)
    assert (asked.name, asked.listed, asked.is_listed_now) == (ALPHA, None, False)


@pytest.mark.parametrize(
    ("facts", "family", "shows"),
    [
        (OLLAMA, "llama", True),
        (OLLAMA, CONSTANT_DIGESTS, False),
        (NOT_OLLAMA, "llama", False),
        (NEVER_CHECKED, "llama", True),
    ],
    ids=[
        "an Ollama server",
        "a program that emulates Ollama",
        "a program that is not Ollama any more",
        "a server that no check has reached yet",
    ],
)
def test_a_stored_digest_counts_only_where_digests_tell_builds_apart(
    facts: dict[str, Any], family: str, shows: bool
) -> None:
    made = from_row(NATIVE, server(7, **facts), model(7, digest=A, family=family), ALPHA)
    assert made.shows_digests is shows
    assert made.stored_digest == (A if shows else None)


@pytest.mark.parametrize(
    ("is_ollama", "listed", "shows"),
    [
        (True, KNOWN, True),
        (True, None, True),
        (True, EMULATED, False),
        (False, KNOWN, False),
        (False, EMULATED, False),
    ],
)
def test_only_the_list_of_an_ollama_server_shows_digests(
    is_ollama: bool, listed: ListedModel | None, shows: bool
) -> None:
    made = from_list(NATIVE, None, ALPHA, listed, None, is_ollama=is_ollama)
    assert made.shows_digests is shows


@pytest.mark.parametrize(
    ("name", "columns", "leaves"),
    [
        ("alpha", {}, False),
        ("alpha", {"remote_host": "https://far.example"}, True),
        ("alpha", {"remote_model": "big"}, True),
        ("alpha:cloud", {}, True),
    ],
)
def test_a_row_tells_whether_a_prompt_leaves_the_fleet(
    name: str, columns: dict[str, Any], leaves: bool
) -> None:
    made = from_row(NATIVE, server(7), model(7, **columns), ModelName.parse(name))
    assert made.is_remote is leaves


# the build that must answer


@pytest.mark.parametrize(
    ("demanded", "build", "allowed"),
    [(A, A, True), (A[:12], A, True), (A[:12], B, False), (A, A[:12], False), (A, None, False)],
)
def test_a_demand_allows_the_build_that_begins_as_it_does(
    demanded: str, build: str | None, allowed: bool
) -> None:
    assert Demand(digest=demanded, by="pin").allows(build) is allowed


def test_a_demand_is_told_by_its_first_digits_and_by_what_makes_it() -> None:
    assert str(Demand(digest=A, by="--digest")) == "aaaaaaaaaaaa (--digest)"


PIN, OTHER_PIN = Demand(digest=A, by="pin"), Demand(digest=B, by="pin")
VERIFIED = Demand(digest=A, by="--verified")


@pytest.mark.parametrize(
    ("demand", "is_somebodys"),
    [(None, False), (PIN, True), (VERIFIED, True), (replace(PIN, implied=True), False)],
)
def test_a_build_is_demanded_by_somebody_or_only_implied(
    demand: Demand | None, is_somebodys: bool
) -> None:
    assert is_demanded(replace(candidate(), demand=demand)) is is_somebodys


@pytest.mark.parametrize("demand", [None, PIN, OTHER_PIN])
@pytest.mark.parametrize("stored", [None, A])
def test_without_verified_the_stored_build_demands_nothing(
    demand: Demand | None, stored: str | None
) -> None:
    assert demand_of(candidate(stored=stored), Terms(), demand) == demand


@pytest.mark.parametrize("demand", [None, PIN, Demand(digest=A[:12], by="--digest")])
def test_verified_demands_the_whole_stored_digest(demand: Demand | None) -> None:
    assert demand_of(candidate(stored=A), Terms(verified=True), demand) == VERIFIED


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        (GPU, "use ollama-admin discover gpu"),
        (UNREGISTERED, "use --digest, for a server not in the database"),
    ],
)
def test_verified_is_refused_where_no_build_is_stored(ref: ServerRef, told: str) -> None:
    asked = candidate(replace(NATIVE, ref=ref), stored=None)
    with pytest.raises(ModelMismatch) as caught:
        demand_of(asked, Terms(verified=True), PIN)
    assert caught.value.message == f"no digest of model 'alpha:latest' is stored for server {ref}"
    assert caught.value.hint == told


def test_verified_is_refused_where_another_build_is_stored_than_the_demanded_one() -> None:
    with pytest.raises(ModelMismatch) as caught:
        demand_of(candidate(stored=A), Terms(verified=True), OTHER_PIN)
    assert caught.value.message == (
        "model 'alpha:latest' on server gpu is stored as build aaaaaaaaaaaa, but bbbbbbbbbbbb "
        "(pin) is demanded"
    )
    assert caught.value.hint == "leave --verified out, or change the pin"


# why it may not be asked


def test_a_model_of_the_fleet_may_be_asked_and_a_build_demanded_of_it() -> None:
    for demand in (None, PIN):
        assert refusal(candidate(), Terms(), demand, {}) is None


@pytest.mark.parametrize("allow_remote", [False, True])
def test_a_remote_model_proves_no_build_even_where_it_is_allowed(allow_remote: bool) -> None:
    refused = refusal(candidate(listed=ELSEWHERE), Terms(allow_remote=allow_remote), PIN, {})
    assert isinstance(refused, ModelMismatch)
    assert refused.message == (
        "model 'alpha:latest' answers from a remote host, which proves no build, but aaaaaaaaaaaa "
        "(pin) is demanded"
    )


def test_a_server_that_shows_no_digests_answers_where_no_build_is_demanded() -> None:
    asked = candidate(listed=EMULATED)
    assert refusal(asked, Terms(), None, {}) is None
    refused = refusal(asked, Terms(), PIN, {})
    assert isinstance(refused, ModelMismatch)
    assert refused.message == (
        "server gpu is not Ollama and shows no digests, but aaaaaaaaaaaa (pin) is demanded"
    )


@pytest.mark.parametrize(
    ("name", "listed", "host"),
    [
        ("m:cloud", None, "ollama.com"),
        ("m:120b-CLOUD", None, "ollama.com"),
        (
            "m:8b",
            ListedModel(name="m:8b", remote_host="https://far.example"),
            "https://far.example",
        ),
        ("m:8b", ListedModel(name="m:8b", remote_model="big"), "ollama.com"),
        ("m:cloud", ListedModel(name="M:cloud"), "ollama.com"),
    ],
)
def test_a_prompt_leaves_the_fleet_only_when_allowed(
    name: str, listed: ListedModel | None, host: str
) -> None:
    refused = refusal_of(name, listed, Terms())
    assert isinstance(refused, RemoteNotAllowed)
    assert host in refused.message
    assert refusal_of(name, listed, Terms(allow_remote=True)) is None


def refusal_of(name: str, listed: ListedModel | None, terms: Terms) -> AdminError | None:
    """Why a server that lists a model so may not be asked for a name."""
    asked = from_list(NATIVE, None, ModelName.parse(name), listed, "0.33.0", is_ollama=True)
    return refusal(asked, terms, None, {})


def test_a_model_of_the_fleet_needs_no_permission() -> None:
    assert refusal_of("m:8b", ListedModel(name="m:8b"), Terms()) is None
    assert refusal_of("cloud", None, Terms()) is None


@pytest.mark.parametrize(
    ("ref", "command"),
    [(GPU, ": ollama-admin server update gpu --api-version native"), (UNREGISTERED, "")],
)
def test_a_server_is_not_asked_for_what_its_dialect_cannot_carry(
    ref: ServerRef, command: str
) -> None:
    refused = refusal(candidate(replace(V1, ref=ref)), Terms(), None, V1_LACKS)
    assert isinstance(refused, InvalidInput)
    assert refused.message == f"the v1 API of server {ref} cannot carry --think"
    way = "leave it out, or if the server is Ollama, use its own API"
    assert refused.hint == f"{way}{command}"


def test_a_server_of_another_dialect_is_asked_all_the_same() -> None:
    assert refusal(candidate(NATIVE), Terms(), None, V1_LACKS) is None


# what proves no build


def test_what_proves_no_build_goes_to_those_of_whom_none_is_demanded() -> None:
    free, bound = candidate(), candidate(demand=Demand(digest=A, by="--digest"))
    assert without_demand([bound, free, bound]) == [free]
    with pytest.raises(ModelMismatch) as refused:
        without_demand([bound, replace(bound, demand=Demand(digest=B, by="--digest"))])
    assert (
        refused.value.message == f"such an answer proves no build, but {bound.demand} is demanded"
    )
    assert refused.value.hint == "leave the demand out, or remove the pin"
