"""Which server answers, decided on data alone."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.callers import OWNER, Caller, Way
from ollama_admin.domain.models import ListedModel, Model
from ollama_admin.domain.names import ModelName, model_key
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.requests import GenerateRequest, Terms
from ollama_admin.domain.servers import ApiVersion, Server, ServerStatus, has_capability
from ollama_admin.errors import Conflict, InvalidInput, ModelAmbiguous
from ollama_admin.rules.candidates import Demand
from ollama_admin.rules.request_checks import checked
from ollama_admin.rules.routing import (
    Criteria,
    Obstacle,
    Verdict,
    demanded,
    first_choice,
    judge_servers,
    named,
    only_one,
    preference,
)
from tests.rules.rows import NOT_OLLAMA, NOW, model, server

CALLER = Caller(way=Way.PYTHON, rights=OWNER)
A, B = "a" * 64, "b" * 64
ASKED = GenerateRequest(prompt="hi")
VERIFIED = GenerateRequest(prompt="hi", verified=True)


def judge(
    servers: list[Server],
    models: list[Model],
    asked: str = "alpha",
    request: GenerateRequest = ASKED,
    demand: Demand | None = None,
) -> list[Verdict]:
    """The verdicts, of the rows that the catalogue finds under the name."""
    name, whole = ModelName.parse(asked), checked(request, CALLER)
    criteria = Criteria(
        name=name,
        terms=request.terms(),
        capability=request.capability,
        demand=demand,
        cannot_carry=whole.cannot_carry,
        needs_vision=whole.needs_vision,
    )
    ollama = {server.id for server in servers if server.is_ollama}
    rows = [row for row in models if key_of(row, ollama) in (name.text, name.key)]
    return judge_servers(servers, rows, criteria)


def key_of(row: Model, ollama: set[int]) -> str:
    """What the catalogue finds a row by: on a server that is not Ollama, its name as it is."""
    return model_key(row.name) if row.server_id in ollama else row.name


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


def test_an_id_of_a_server_that_is_not_ollama_is_no_other_spelling_of_a_name() -> None:
    models = [model(1, "registry.ollama.ai/library/alpha:latest")]
    assert judged([server(1)], models) == {1: None}
    assert judged([server(1, **NOT_OLLAMA)], models) == {1: Obstacle.LACKS}


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
    assert verdicts[0].why == "its build is aaaaaaaaaaaa, but bbbbbbbbbbbb (--digest) is demanded"


def test_a_server_that_is_not_ollama_any_more_has_none_of_the_builds_stored_of_it() -> None:
    servers, models = [server(1, **NOT_OLLAMA), server(2)], [model(1, "alpha"), model(2)]
    first, second = judge(servers, models)
    assert (first.obstacle, first.digest) == (None, None)
    assert second.why == "its build is aaaaaaaaaaaa, that of s1 is unknown"
    demand = Demand(digest=A, by="pin")
    assert judged(servers, models, demand=demand) == {1: Obstacle.NOT_DEMANDED, 2: None}
    assert judged(servers, models, VERIFIED) == {1: Obstacle.NOT_DEMANDED, 2: None}


def test_verified_leaves_the_servers_of_which_a_build_is_stored() -> None:
    models = [model(1, digest=None), model(2, remote_host="https://far.example"), model(3)]
    verdicts = judge([server(1), server(2), server(3)], models, request=VERIFIED)
    assert [verdict.obstacle for verdict in verdicts] == [
        Obstacle.NOT_DEMANDED,
        Obstacle.NOT_DEMANDED,
        None,
    ]
    assert verdicts[0].why == "no digest of it is stored that --verified could demand"


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


def test_a_model_that_takes_no_images_drops_out_where_there_are_some() -> None:
    """What takes images says so, or says nothing at all."""
    servers = [server(1), server(2), server(3, capabilities=("Vision",)), server(4)]
    models = [
        model(1, capabilities=("completion",)),
        model(2, capabilities=("completion", "vision")),
        model(3, capabilities=("completion",)),
        model(4),
    ]
    with_image = GenerateRequest(prompt="hi", images=(b"GIF89a",))
    verdicts = judge(servers, models, request=with_image)
    assert [v.obstacle for v in verdicts] == [Obstacle.VISION, None, None, None]
    assert verdicts[0].why == "its model takes no images"
    assert judged(servers, models) == {1: None, 2: None, 3: None, 4: None}


def test_with_images_a_server_that_has_not_the_model_lacks_it_all_the_same() -> None:
    with_image = GenerateRequest(prompt="hi", images=(b"GIF89a",))
    assert judged([server(1)], [], with_image) == {1: Obstacle.LACKS}


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


# who is asked


@pytest.mark.parametrize("unwilling", [Obstacle.INACTIVE, Obstacle.REMOTE, Obstacle.NOT_DEMANDED])
@pytest.mark.parametrize("may", [None, Obstacle.AMBIGUOUS])
def test_the_first_that_may_answer_is_the_choice_even_if_it_has_several_of_the_name(
    unwilling: Obstacle, may: Obstacle | None
) -> None:
    passed_over = Verdict(server=server(1), obstacle=unwilling)
    chosen = Verdict(server=server(2), obstacle=may)
    later = Verdict(server=server(3))
    assert first_choice([passed_over, chosen, later]) is chosen
    assert first_choice([passed_over]) is None
    assert first_choice([]) is None


# the build that is demanded

ALPHA = ModelName.parse("alpha")
PIN = Pin(name="alpha:latest", digest=A, created_at=NOW, updated_at=NOW)
CHANGE_IT = (
    "ask for what is pinned, or change it: ollama-admin pin set alpha:latest or pin remove "
    "alpha:latest"
)


@pytest.mark.parametrize(
    ("terms", "pin", "demand"),
    [
        (Terms(), None, None),
        (Terms(no_verify=True), None, None),
        (Terms(digest=f"sha256:{B[:12].upper()}"), None, Demand(digest=B[:12], by="--digest")),
        (Terms(), PIN, Demand(digest=A, by="pin")),
        (Terms(digest=A[:12]), PIN, Demand(digest=A, by="pin")),
    ],
    ids=[
        "nothing is demanded",
        "nothing is demanded where nobody looks",
        "a digest demands a build, in whatever spelling",
        "a pin demands its build",
        "a digest that a pin begins with demands all of the pin",
    ],
)
def test_a_digest_or_a_pin_demands_a_build(
    terms: Terms, pin: Pin | None, demand: Demand | None
) -> None:
    assert demanded(terms, ALPHA, pin) == demand


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (Terms(no_verify=True), "and --no-verify would not look"),
        (Terms(digest=B), "but bbbbbbbbbbbb is demanded"),
    ],
)
def test_nobody_asks_for_less_than_the_pin_or_for_something_else(terms: Terms, why: str) -> None:
    with pytest.raises(Conflict) as caught:
        demanded(terms, ALPHA, PIN)
    assert caught.value.message == f"model 'alpha' is pinned to aaaaaaaaaaaa, {why}"
    assert caught.value.hint == CHANGE_IT


def test_what_is_no_digest_demands_nothing_but_is_refused() -> None:
    with pytest.raises(InvalidInput):
        demanded(Terms(digest="abc"), ALPHA, None)
