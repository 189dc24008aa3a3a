"""Which server answers, decided on data alone."""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.callers import OWNER, Caller, Way
from ollama_admin.domain.models import ListedModel, Model
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.requests import GenerateRequest, Terms
from ollama_admin.domain.servers import (
    ApiVersion,
    AuthType,
    Server,
    ServerRef,
    ServerStatus,
    Target,
)
from ollama_admin.errors import AdminError, ModelAmbiguous, RemoteNotAllowed
from ollama_admin.rules.candidates import Demand, from_list, refusal
from ollama_admin.rules.request_checks import checked
from ollama_admin.rules.routing import (
    Criteria,
    Obstacle,
    Verdict,
    has_capability,
    judge_servers,
    named,
    only_one,
    preference,
)

CALLER = Caller(way=Way.PYTHON, rights=OWNER)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLLAMA: dict[str, Any] = {"version": "0.33.0", "last_seen_at": NOW}
NOT_OLLAMA: dict[str, Any] = {"version": None, "last_seen_at": NOW}
ASKED = GenerateRequest(prompt="hi")


def server(id_: int, **columns: Any) -> Server:
    usual: dict[str, Any] = {
        "id": id_,
        "name": f"s{id_}",
        "url": f"http://h{id_}",
        "api_version": ApiVersion.NATIVE,
        "capabilities": (),
        "max_concurrent": 1,
        "priority": 0,
        "is_default": False,
        "is_active": True,
        "default_model": None,
        "auth_type": AuthType.NONE,
        "auth_config": {},
        "headers": {},
        "status": ServerStatus.UNKNOWN,
        "last_error": None,
        "last_discovered_at": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Server(**(usual | OLLAMA | columns))


def model(server_id: int, name: str = "alpha:latest", **columns: Any) -> Model:
    usual: dict[str, Any] = {
        "id": server_id,
        "server_id": server_id,
        "server": f"s{server_id}",
        "name": name,
        "digest": "a" * 64,
        "context_length": None,
        "embedding_length": None,
        "capabilities": None,
        "is_available": True,
        "first_seen_at": NOW,
        "last_seen_at": NOW,
        "digest_changed_at": None,
    }
    return Model(**(usual | columns))


def judge(
    servers: list[Server],
    models: list[Model],
    asked: str = "alpha",
    request: GenerateRequest = ASKED,
    demand: Demand | None = None,
) -> list[Verdict]:
    """The verdicts, of the rows that the catalogue finds under the name."""
    name = ModelName.parse(asked)
    criteria = Criteria(
        name=name,
        terms=request.terms(),
        capability=request.capability,
        demand=demand,
        cannot_carry=checked(request, CALLER).cannot_carry,
    )
    is_ollama = {server.id: bool(server.is_ollama) for server in servers}
    rows = [model for model in models if named([model], name, is_ollama=is_ollama[model.server_id])]
    return judge_servers(servers, rows, criteria)


def ranked(
    servers: list[Server], models: list[Model], asked: str, request: GenerateRequest = ASKED
) -> list[int]:
    verdicts = judge(servers, models, asked, request)
    return [verdict.server.id for verdict in verdicts if verdict.obstacle is None]


def judged(
    servers: list[Server],
    models: list[Model],
    request: GenerateRequest = ASKED,
    demand: Demand | None = None,
) -> dict[int, Obstacle | None]:
    """What keeps each server from answering for alpha."""
    return {v.server.id: v.obstacle for v in judge(servers, models, "alpha", request, demand)}


def test_the_default_comes_first_then_the_higher_priority_then_the_older_row() -> None:
    servers = [
        server(1),
        server(2, priority=5),
        server(3, priority=-1, is_default=True),
        server(4, priority=5),
    ]
    models = [model(row.id) for row in servers]
    for order in itertools.permutations(servers):
        assert ranked(list(order), models, "alpha") == [3, 2, 4, 1]


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), max_size=6))
def test_the_order_never_depends_on_the_order_of_the_rows(rows: list[tuple[bool, int]]) -> None:
    servers = [
        server(i, is_default=default, priority=priority)
        for i, (default, priority) in enumerate(rows, 1)
    ]
    models = [model(row.id) for row in servers]
    chosen = ranked(servers, models, "alpha")
    assert chosen == ranked(servers[::-1], models[::-1], "alpha")
    assert sorted(chosen) == [row.id for row in servers]
    assert chosen == [row.id for row in sorted(servers, key=preference)]


def test_only_active_servers_that_list_the_model_are_candidates() -> None:
    servers = [server(1), server(2, is_active=False), server(3)]
    models = [model(1, "beta:latest"), model(2), model(3)]
    assert ranked(servers, models, "alpha") == [3]
    assert ranked(servers, models, "gamma") == []


@pytest.mark.parametrize("status", list(ServerStatus))
def test_the_status_excludes_no_server(status: ServerStatus) -> None:
    assert ranked([server(1, status=status, last_error="x")], [model(1)], "alpha") == [1]


def test_names_are_folded_on_ollama_and_compared_byte_for_byte_elsewhere() -> None:
    servers = [server(1), server(2, **NOT_OLLAMA), server(3, **NOT_OLLAMA)]
    models = [model(1, "Alpha:latest"), model(2, "Alpha:latest"), model(3, "alpha")]
    assert judged(servers[:2], models[:2]) == {1: None, 2: Obstacle.LACKS}
    assert judged(servers[2:], models[2:]) == {3: None}
    alpha = ModelName.parse("alpha")
    listed = [ListedModel(name="library/Alpha:latest"), ListedModel(name="Alpha")]
    assert named(listed, alpha, is_ollama=True) == listed
    assert named(listed, alpha, is_ollama=False) == []


def test_several_models_that_the_name_means_are_an_obstacle() -> None:
    models = [model(1, "Alpha:latest"), model(1, "alpha:latest"), model(1, "alpha:8b")]
    (verdict,) = judge([server(1)], models)
    assert [found.name for found in verdict.models] == ["Alpha:latest", "alpha:latest"]
    assert (verdict.obstacle, verdict.digest) == (Obstacle.AMBIGUOUS, None)


def test_the_first_servers_digest_is_the_build_and_others_drop_out() -> None:
    servers = [server(1), server(2), server(3, priority=1), server(4)]
    models = [model(1, digest="b" * 64), model(2), model(3), model(4, digest=None)]
    assert judged(servers, models) == {
        3: None,
        1: Obstacle.OTHER_BUILD,
        2: None,
        4: Obstacle.OTHER_BUILD,
    }
    why = {v.server.id: v.why for v in judge(servers, models)}
    assert why[1] == "its build is bbbbbbbbbbbb, that of s3 is aaaaaaaaaaaa"
    assert why[4] == "its build is unknown, that of s3 is aaaaaaaaaaaa"


def test_a_server_without_a_digest_is_equal_to_none() -> None:
    models = [model(1, digest=None), model(2, digest=None)]
    assert judged([server(1), server(2)], models) == {1: None, 2: Obstacle.OTHER_BUILD}


def test_a_program_that_shows_one_digest_for_all_tells_no_builds_apart() -> None:
    models = [model(1, family="koboldcpp"), model(2, family="koboldcpp"), model(3)]
    servers = [server(1), server(2), server(3)]
    assert judged(servers, models) == {1: None, 2: Obstacle.OTHER_BUILD, 3: Obstacle.OTHER_BUILD}
    assert judged(servers, models, demand=Demand(digest="a" * 12, by="pin")) == {
        1: Obstacle.NOT_DEMANDED,
        2: Obstacle.NOT_DEMANDED,
        3: None,
    }


def test_a_demanded_digest_takes_part_in_the_choice() -> None:
    models = [model(1), model(2, digest="b" * 64), model(3, digest=None)]
    demand = Demand(digest="b" * 12, by="--digest")
    verdicts = judge([server(1), server(2), server(3)], models, demand=demand)
    assert [v.server.id for v in verdicts if v.obstacle is None] == [2]
    assert verdicts[0].why == "its build is aaaaaaaaaaaa, demanded is bbbbbbbbbbbb (--digest)"


def test_a_remote_model_needs_permission_and_proves_no_build() -> None:
    models = [model(1, remote_host="https://far.example"), model(2)]
    servers, allowed = [server(1), server(2)], GenerateRequest(prompt="hi", allow_remote=True)
    assert judged(servers, models) == {1: Obstacle.REMOTE, 2: None}
    assert judged(servers, models, allowed) == {1: None, 2: None}
    demand = Demand(digest="a" * 64, by="pin")
    assert judged(servers, models, allowed, demand) == {1: Obstacle.NOT_DEMANDED, 2: None}


def test_a_capability_may_be_the_servers_or_the_models() -> None:
    servers = [server(1, capabilities=("Vision",)), server(2), server(3), server(4)]
    models = [
        model(1),
        model(2, capabilities=("completion", "vision")),
        model(3, capabilities=("tools",)),
        model(4),
    ]
    wanted = GenerateRequest(prompt="hi", capability="VISION")
    assert ranked(servers, models, "alpha", wanted) == [1, 2]
    assert not has_capability((), "vision")


def test_a_v1_server_that_cannot_carry_the_request_drops_out_and_is_named() -> None:
    servers = [server(1, api_version=ApiVersion.V1), server(2)]
    models = [model(1), model(2)]
    asked = GenerateRequest(prompt="hi", options={"num_ctx": 1})
    verdicts = judge(servers, models, request=asked)
    assert [(v.server.id, v.obstacle) for v in verdicts] == [(1, Obstacle.OPTION), (2, None)]
    assert verdicts[0].why == "v1 cannot carry --option num_ctx"
    assert ranked(servers, models, "alpha", GenerateRequest(prompt="hi", options={"seed": 1})) == [
        1,
        2,
    ]


def test_a_v1_server_without_the_model_lacks_it_whatever_it_can_carry() -> None:
    asked = GenerateRequest(prompt="hi", keep_alive=0)
    assert judged([server(1, api_version=ApiVersion.V1)], [], asked) == {1: Obstacle.LACKS}


def test_one_model_is_taken_and_two_of_one_name_are_refused() -> None:
    one, other = ListedModel(name="Alpha:latest"), ListedModel(name="alpha:latest")
    assert only_one([one], "s") is one
    with pytest.raises(ModelAmbiguous) as caught:
        only_one([one, other], "gpu")
    assert (
        caught.value.message
        == "server gpu has 2 models of that name: 'Alpha:latest', 'alpha:latest'"
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
    target = Target(ref=ServerRef(id=1, name="gpu", url="http://h"), api_version=ApiVersion.NATIVE)
    candidate = from_list(target, None, ModelName.parse(name), listed, "0.33.0", is_ollama=True)
    return refusal(candidate, terms, None, {})


def test_a_model_of_the_fleet_needs_no_permission() -> None:
    assert refusal_of("m:8b", ListedModel(name="m:8b"), Terms()) is None
    assert refusal_of("cloud", None, Terms()) is None
