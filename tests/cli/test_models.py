"""`ollama-admin models`"""

import pytest

from ollama_admin.cli.views.models import group_list
from ollama_admin.domain.models import ModelGroup, ModelHolder
from ollama_admin.safe_text import safe_json
from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve
from tests.cli.running import Cli

MODEL_KEYS = [
    *("id", "server", "name", "digest", "size", "format", "family", "families", "parameter_size"),
    *(
        "quantization_level",
        "modified_at",
        "remote_host",
        "remote_model",
        "server_id",
        "context_length",
    ),
    *(
        "embedding_length",
        "capabilities",
        "is_available",
        "first_seen_at",
        "last_seen_at",
        "digest_changed_at",
        "pinned",
    ),
]
QWEN = SimulatedModel(
    "qwen3-vl:8b",
    capabilities=("completion", "vision"),
    context_length=262_144,
    embedding_length=4096,
    size=6_140_000_000,
    family="qwen3vl",
    parameter_size="8.8B",
    quantization_level="Q4_K_M",
)
CLOUD = SimulatedModel(
    "gpt-oss:120b-cloud",
    remote_host="https://ollama.com:443",
    remote_model="gpt-oss:120b",
    size=384,
)


@pytest.fixture
def fleet(cli: Cli, serve: Serve) -> Cli:
    """`big` has qwen3-vl:8b and alpha, `small` another build of alpha; `off` is inactive, and has
    gamma.
    """
    add(cli, "big", serve(QWEN, "alpha").url)
    add(cli, "small", serve(SimulatedModel("alpha", build="2")).url)
    add(cli, "off", serve("gamma").url, "--inactive")
    assert cli("discover", "--all").exit_code == 0
    return cli


def add(cli: Cli, name: str, url: str, *options: str) -> None:
    assert cli("server", "add", name, url, "--no-check", *options).exit_code == 0


def listed(cli: Cli, *words: str) -> set[tuple[str, str]]:
    return {(model["server"], model["name"]) for model in cli.json("models", *words).data}


def test_model_is_shown_with_every_column(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve(QWEN).url)
    cli("discover")
    [model] = cli.json("models").data
    assert sorted(model) == sorted(MODEL_KEYS)
    assert model.pop("first_seen_at") == model.pop("last_seen_at")
    assert model == {
        "id": 1,
        "server": "one",
        "server_id": 1,
        "name": "qwen3-vl:8b",
        "digest": QWEN.digest,
        "size": 6_140_000_000,
        "format": "gguf",
        "family": "qwen3vl",
        "families": ["qwen3vl"],
        "parameter_size": "8.8B",
        "quantization_level": "Q4_K_M",
        "modified_at": "2026-01-01T00:00:00Z",
        "remote_host": None,
        "remote_model": None,
        "context_length": 262_144,
        "embedding_length": 4096,
        "capabilities": ["completion", "vision"],
        "is_available": True,
        "digest_changed_at": None,
        "pinned": None,
    }


def test_models_of_active_servers_are_listed(fleet: Cli) -> None:
    assert listed(fleet) == {
        ("big", "qwen3-vl:8b"),
        ("big", "alpha:latest"),
        ("small", "alpha:latest"),
    }


def test_all_adds_vanished_models_and_those_of_inactive_servers(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", "beta")
    add(cli, "one", fake.url)
    add(cli, "off", serve("gamma").url, "--inactive")
    cli("discover", "--all")
    fake.call(lambda: fake.fakes[0].remove("beta"))
    cli("discover")
    assert listed(cli) == {("one", "alpha:latest")}
    assert listed(cli, "--all") == {
        ("one", "alpha:latest"),
        ("one", "beta:latest"),
        ("off", "gamma:latest"),
    }


def test_models_of_named_servers_are_listed(fleet: Cli) -> None:
    assert listed(fleet, "small") == {("small", "alpha:latest")}
    assert listed(fleet, "2", "BIG") == listed(fleet)
    assert fleet.json("models", "nobody").failure == (3, "server_not_found")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("qwen*", {"qwen3-vl:8b"}),
        ("QWEN*", {"qwen3-vl:8b"}),
        ("*:8b", {"qwen3-vl:8b"}),
        ("alpha", {"alpha:latest"}),
        ("library/Alpha:latest", {"alpha:latest"}),
        ("alph", set()),
        ("al?ha:[lm]atest", {"alpha:latest"}),
        ("", set()),
    ],
)
def test_name_is_a_glob_or_a_name(fleet: Cli, pattern: str, found: set[str]) -> None:
    assert {name for _, name in listed(fleet, "--name", pattern)} == found


def test_capability_filters_models(fleet: Cli) -> None:
    assert listed(fleet, "--capability", "Vision") == {("big", "qwen3-vl:8b")}
    assert listed(fleet, "--capability", "none") == set()


def test_filters_add_up(fleet: Cli) -> None:
    assert listed(fleet, "big", "--name", "a*", "--capability", "completion") == {
        ("big", "alpha:latest")
    }


def test_table_tells_build_size_and_age(fleet: Cli) -> None:
    ran = fleet("models", "--name", "qwen*")
    heading, row = ran.stdout.splitlines()
    assert heading.split()[:2] == ["NAME", "SERVER"]
    for cell in ("qwen3-vl:8b", "big", QWEN.digest[:12], "6.1 GB", "vision"):
        assert cell in row
    assert ran.stderr == ""


def test_vanished_model_is_marked_in_the_table(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", "beta")
    add(cli, "one", fake.url)
    cli("discover")
    fake.call(lambda: fake.fakes[0].remove("beta"))
    cli("discover")
    alpha, beta = sorted(cli("models", "--all").stdout.splitlines()[1:])
    assert "vanished" in beta
    assert "vanished" not in alpha


def test_remote_model_is_marked_in_the_table(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve(CLOUD).url)
    cli("discover")
    assert "remote" in cli("models").stdout.splitlines()[1]
    [model] = cli.json("models").data
    assert (model["remote_host"], model["remote_model"]) == (
        "https://ollama.com:443",
        "gpt-oss:120b",
    )


@pytest.mark.parametrize("words", [(), ("--by-model",)])
def test_no_models_are_an_empty_document_and_a_note(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli.json("models", *words).data == []
    ran = cli("models", *words)
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "ollama-admin discover" in ran.stderr


def test_by_model_tells_on_which_servers_and_how_many_builds(fleet: Cli) -> None:
    groups = {group["name"]: group for group in fleet.json("models", "--by-model").data}
    assert groups.keys() == {"alpha:latest", "qwen3-vl:8b"}
    assert {"name", "builds", "servers"} <= groups["alpha:latest"].keys()
    assert groups["qwen3-vl:8b"]["builds"] == 1
    assert groups["alpha:latest"]["builds"] == 2
    assert groups["alpha:latest"]["servers"] == [
        {"server": "big", "digest": SimulatedModel("alpha").digest, "is_available": True},
        {
            "server": "small",
            "digest": SimulatedModel("alpha", build="2").digest,
            "is_available": True,
        },
    ]


def test_by_model_marks_differing_builds_in_the_table(fleet: Cli) -> None:
    ran = fleet("models", "--by-model")
    heading, *rows = ran.stdout.splitlines()
    assert heading.split() == ["NAME", "SERVERS", "BUILD", "ON"]
    alpha, qwen = sorted(rows)
    assert "2 builds differ" in alpha
    assert f"small {SimulatedModel('alpha', build='2').digest[:12]}" in alpha
    assert qwen.split() == ["qwen3-vl:8b", "1", QWEN.digest[:12], "big"]


def test_of_many_servers_the_table_names_some_and_those_that_differ_first() -> None:
    builds = ["a" * 64] * 200
    builds[150] = "b" * 64
    holders = tuple(
        ModelHolder(server=f"gpu-{number}", digest=digest, is_available=True)
        for number, digest in enumerate(builds)
    )
    group = ModelGroup(name="alpha", builds=2, servers=holders)
    cells = group_list().layout([group], True).cells(group)
    assert cells[-1] is not None
    assert cells[-1].startswith(f"gpu-150 {'b' * 12}, gpu-0 {'a' * 12}, gpu-1 ")
    assert cells[-1].endswith(f"gpu-8 {'a' * 12} and 190 more")


def test_by_model_takes_the_same_filters(fleet: Cli) -> None:
    def names(*words: str) -> list[str]:
        return [group["name"] for group in fleet.json("models", "--by-model", *words).data]

    assert names("--capability", "vision") == ["qwen3-vl:8b"]
    assert names("small") == ["alpha:latest"]
    assert "gamma:latest" in names("--all")
    assert names("--name", "q*") == ["qwen3-vl:8b"]


def test_names_that_are_equal_to_ollama_are_one_group(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve("Alpha").url)
    add(cli, "two", serve("alpha").url)
    cli("discover")
    [group] = cli.json("models", "--by-model").data
    assert len(group["servers"]) == 2


def test_hostile_model_name_is_shown_escaped(cli: Cli, serve: Serve) -> None:
    fake = serve("[red]a\x1b]0;x\x07\u202eb", version=None)
    add(cli, "other", f"{fake.url}/v1")
    assert cli("discover").exit_code == 0
    ran = cli("models")
    assert "[red]a\\x1b]0;x\\x07\\u202eb" in ran.stdout
    assert not any(mark in ran.stdout for mark in "\x1b\x07\u202e")
    raw = cli.json("models").stdout
    assert safe_json(raw) == raw
    assert "\x1b" not in raw


def test_name_that_others_begin_with_is_told(cli: Cli, serve: Serve) -> None:
    fake = serve("gemma3:4b", "gemma3:27b", "Gemma2:9b", "phi4:14b")
    assert cli("server", "add", "one", fake.url, "--discover").exit_code == 0
    for words in (("models",), ("models", "--by-model")):
        ran = cli(*words, "--name", "gemma")
        assert (ran.exit_code, ran.stdout) == (0, "")
        assert (
            ran.stderr
            == "note: no model is called 'gemma', but 3 names begin with it: --name 'gemma*'\n"
        )
        assert "1 name begins with it" in cli(*words, "--name", "phi").stderr
        assert "no such models" in cli(*words, "--name", "llama").stderr
    assert cli.json("models", "--name", "gemma").data == []


def test_capability_that_models_have_and_no_server_is_told_apart(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    assert cli("server", "add", "one", fake.url, "--discover").exit_code == 0
    hint = cli.json("generate", "--capability", "completion", "hi").error["hint"]
    assert hint.startswith(
        "models have it, but no server is marked with it: name a model with --model"
    )
    assert cli.json("generate", "--capability", "song", "hi").error["hint"] == "use --model"
