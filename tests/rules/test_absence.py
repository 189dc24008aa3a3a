"""What is said of a model that nobody has."""

import pytest

from ollama_admin.domain.servers import ServerRef
from ollama_admin.rules.absence import hint, limits, no_vision, not_listed
from ollama_admin.rules.routing import Obstacle, Verdict
from tests.rules.rows import model, server

GPU = ServerRef(id=1, name="gpu", url="http://gpu")
SEE_ALL = (
    "see what there is: ollama-admin models; after a change on a server: ollama-admin discover"
)


INACTIVE = Verdict(server=server(1), models=(model(1),), obstacle=Obstacle.INACTIVE)
INACTIVE_TOO = Verdict(server=server(2), models=(model(2),), obstacle=Obstacle.INACTIVE)
INACTIVE_WITHOUT_IT = Verdict(server=server(3), obstacle=Obstacle.INACTIVE)
UNABLE = Verdict(server=server(4), obstacle=Obstacle.CAPABILITY)
UNLABELLED = Verdict(server=server(6), models=(model(6),), obstacle=Obstacle.LABEL)
# one that lists it, and may not answer for another reason: no inactive one has it
ON_V1 = Verdict(server=server(5), models=(model(5),), obstacle=Obstacle.OPTION)


@pytest.mark.parametrize(
    ("verdicts", "known", "told"),
    [
        ([INACTIVE], ["alpha:8b"], "inactive servers have it: s1"),
        ([INACTIVE, UNABLE, INACTIVE_TOO], [], "inactive servers have it: s1, s2"),
        ([INACTIVE_WITHOUT_IT, ON_V1], ["alpha:8b"], "nearest: alpha:8b"),
        (
            [INACTIVE_WITHOUT_IT, UNABLE],
            ["alpha:8b"],
            "it is there, but without that capability: see ollama-admin models -o json",
        ),
        (
            [UNLABELLED, UNABLE],
            ["alpha:8b"],
            "it is there, but without that label: see ollama-admin server list -o json",
        ),
        ([], ["alpha:8b", "zeta"], "nearest: alpha:8b"),
        ([], ["alpha:8b", "alpha:70b"], "nearest: alpha:8b, alpha:70b"),
        ([], ["zeta"], SEE_ALL),
        ([], [], "no models are known yet: run ollama-admin discover"),
    ],
    ids=[
        "an inactive server has it",
        "inactive servers that have it come before any other reason",
        "an inactive server without it, and an active one with it, are not named",
        "an active server has it without the capability",
        "an active server has it without the label",
        "a name that looks like it is known",
        "several names that look like it are known",
        "no name that is known looks like it",
        "no name is known",
    ],
)
def test_the_hint_tells_what_to_do_next(
    verdicts: list[Verdict], known: list[str], told: str
) -> None:
    assert hint("alpha", verdicts, known) == told


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (["other", "llama-3.1-8b"], "it lists: llama-3.1-8b"),
        (["a", "b", "c", "d"], "it lists: a, b, c"),
        ([], "it lists no models"),
    ],
    ids=["the nearest name", "the first three, where none is near", "nothing"],
)
def test_a_server_that_does_not_list_a_model_is_told_with_what_it_lists(
    listed: list[str], told: str
) -> None:
    error = not_listed("llama-3.1", GPU, listed)
    assert error.message == "server gpu does not list model 'llama-3.1'"
    assert error.hint == told


@pytest.mark.parametrize(
    ("capability", "labels", "said"),
    [
        (None, (), ""),
        ("vision", (), " with the capability 'vision'"),
        (None, ("gpu=a100",), " with the label gpu=a100"),
        (
            "tools",
            ("gpu=a100", "site=b"),
            " with the label gpu=a100 and the label site=b and the capability 'tools'",
        ),
    ],
)
def test_what_was_asked_beside_the_model_stands_in_the_error(
    capability: str | None, labels: tuple[str, ...], said: str
) -> None:
    assert limits(capability, labels) == said


@pytest.mark.parametrize(
    ("seeing", "told"),
    [
        (["llava", "qwen-vl"], "these take images: llava, qwen-vl"),
        ([], "no model of the active servers takes images, as far as the last discovery found"),
    ],
)
def test_images_for_a_model_that_takes_none_name_those_that_do(
    seeing: list[str], told: str
) -> None:
    error = no_vision("alpha", seeing)
    assert (error.message, error.hint) == ("model 'alpha' takes no images", told)
