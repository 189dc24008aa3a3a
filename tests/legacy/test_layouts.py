"""Every layout and trap, read from text to servers."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.secret import Secret
from ollama_admin.legacy import envfile, layouts
from ollama_admin.legacy.drafts import LegacyServer
from ollama_admin.legacy.reader import Legacy, read
from ollama_admin.legacy.servers import Kind

SINGLE_SERVER_NAMES = [
    *(
        "OLLAMA_BASE_URL",
        "OLLAMA_API_BASE_URL",
        "OLLAMA_API_BASE",
        "OLLAMA_HOST",
        "OLLAMA_URL",
        "OLLAMA_BASE_PATH",
    ),
    *(
        "OLLAMA_PROXY_URL",
        "OLLAMA_ENDPOINT",
        "OLLAMA_API_URL",
        "ollama_base_url",
        "OLLAMA_SERVER_URL",
    ),
]
SERVER_SETTINGS = [
    *(
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_LOAD_TIMEOUT",
        "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_NUM_PARALLEL",
        "OLLAMA_AUTH",
    ),
    *(
        "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_MAX_QUEUE",
        "OLLAMA_MAX_TRANSFER_STREAMS",
        "OLLAMA_ORIGINS",
        "OLLAMA_DEBUG",
    ),
    *(
        "OLLAMA_DEBUG_LOG_REQUESTS",
        "OLLAMA_NOPRUNE",
        "OLLAMA_NOHISTORY",
        "OLLAMA_EDITOR",
        "OLLAMA_GO_TEMPLATE",
    ),
    *(
        "OLLAMA_FLASH_ATTENTION",
        "OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_GPU_OVERHEAD",
        "OLLAMA_SCHED_SPREAD",
    ),
    *(
        "OLLAMA_LLM_LIBRARY",
        "OLLAMA_IGPU_ENABLE",
        "OLLAMA_VULKAN",
        "OLLAMA_NO_CLOUD",
        "OLLAMA_REMOTES",
    ),
    *(
        "OLLAMA_CLOUD_BASE_URL",
        "OLLAMA_EXPERIMENT",
        "OLLAMA_INSTALL_DIR",
        "OLLAMA_VERSION",
        "OLLAMA_NO_START",
    ),
    *("OLLAMA_LIBRARY_PATH", "OLLAMA_TMPDIR", "OLLAMA_RUNNER_DIR"),
]


def legacy(text: str, *more: str) -> Legacy:
    files = [(f"{number or ''}.env", body) for number, body in enumerate((text, *more))]
    return read(
        [envfile.EnvFile(file=name, bindings=envfile.parse(body, name)) for name, body in files]
    )


def urls(text: str, *more: str) -> dict[str, str]:
    return {server.name: server.url for server in legacy(text, *more).servers}


def only(text: str) -> LegacyServer:
    (server,) = legacy(text).servers
    return server


def told(server: LegacyServer) -> dict[str, object]:
    return {name: value.value for name, value in server.fields.items()}


def auth(server: LegacyServer) -> dict[str, object]:
    """The fields of its credentials, secrets in plain."""
    return {
        name: value.value.reveal() if isinstance(value.value, Secret) else value.value
        for name, value in server.auth.items()
    }


def bearer(token: str) -> dict[str, object]:
    return {"auth_type": "bearer", "auth_config.token": token}


def basic(password: str) -> dict[str, object]:
    return {"auth_type": "basic", "auth_config.username": "u", "auth_config.password": password}


def why(text: str) -> dict[str, str]:
    return {skip.binding.key: skip.why for skip in legacy(text).skipped}


def refused(text: str) -> str:
    """The first error, in the order of the lines."""
    errors = [skip for skip in legacy(text).skipped if skip.kind is Kind.ERROR]
    first = min(errors, key=lambda skip: skip.binding.line or 0)
    return f"{first.error} {first.error.hint}"


@pytest.mark.parametrize("name", SINGLE_SERVER_NAMES)
def test_a_single_server_is_called_ollama_whatever_names_it(name: str) -> None:
    assert urls(f"{name}=http://gpu:11434") == {"ollama": "http://gpu:11434"}


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://gpu:11434/v1", "http://gpu:11434"),
        ("http://gpu:11434/api", "http://gpu:11434"),
        ("http://gpu:11434/", "http://gpu:11434"),
        ("http://gpu/ollama", "http://gpu/ollama"),
        ("gpu", "http://gpu:11434"),
        ("gpu:8080", "http://gpu:8080"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("'\"http://gpu:1\"'", "http://gpu:1"),
        ("http://host.docker.internal:11434", "http://host.docker.internal:11434"),
        ("${OLLAMA_ADDRESS_OF_HOST:-http://gpu:11434}", "http://gpu:11434"),
    ],
)
def test_a_url_is_normalised(value: str, url: str) -> None:
    assert urls(f"export OLLAMA_HOST={value}") == {"ollama": url}


def test_a_v1_tail_means_v1_and_is_inferred() -> None:
    version = only("OLLAMA_URL=http://gpu:11434/v1").fields["api_version"]
    assert (version.value, version.given) == ("v1", False)
    assert "api_version" not in only("OLLAMA_URL=http://gpu:11434/api").fields


def test_a_port_of_its_own_completes_the_url() -> None:
    assert urls("OLLAMA_HOST=gpu\nOLLAMA_PORT=8080") == {"ollama": "http://gpu:8080"}
    assert urls("OLLAMA_HOST=http://gpu\nOLLAMA_PORT=8080") == {"ollama": "http://gpu:8080"}
    assert urls("OLLAMA_HOST=http://gpu:1\nOLLAMA_PORT=8080") == {"ollama": "http://gpu:1"}
    assert "OLLAMA_PORT" in why("OLLAMA_HOST=http://gpu:1\nOLLAMA_PORT=8080")


def test_unnumbered_values_belong_to_the_unnumbered_server() -> None:
    text = "OLLAMA_URL_2=http://two\nOLLAMA_MODEL=qwen3:8b\nOLLAMA_BASE_URL=http://one\nOLLAMA_PRIORITY=-5\n"
    first, second = legacy(text).servers
    assert told(first) == {
        "name": "ollama",
        "url": "http://one",
        "default_model": "qwen3:8b",
        "priority": -5,
    }
    assert told(second) == {"name": "ollama-2", "url": "http://two"}


def test_unnumbered_values_belong_to_the_first_server_when_none_is_unnumbered() -> None:
    first, second = legacy(
        "OLLAMA_URL_2=http://two\nOLLAMA_URL_1=http://one\nOLLAMA_MODEL=m"
    ).servers
    assert told(first) == {"name": "ollama-1", "url": "http://one", "default_model": "m"}
    assert "default_model" not in second.fields


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("OLLAMA_MODEL=m", "m"),
        ("OLLAMA_MODEL_PREF=m", "m"),
        ("OLLAMA_CHAT_MODEL=m", "m"),
        ("DEFAULT_MODEL=m", "m"),
        ("DEFAULT_MODEL=other\nOLLAMA_MODEL=m", "m"),
        ("OLLAMA_DEFAULT_MODEL=other\nOLLAMA_MODEL=m", "m"),
        ("OLLAMA_EMBED_MODEL=m", None),
        ("OLLAMA_VISION_MODEL=m", None),
        ("OLLAMA_MODEL=m,n", None),
        ("OLLAMA_MODEL=<model>", None),
    ],
)
def test_a_default_model_comes_from_the_variable_that_means_it(
    text: str, model: str | None
) -> None:
    assert told(only(f"{text}\nOLLAMA_URL=http://gpu")).get("default_model") == model


def test_a_model_of_a_server_with_a_word_belongs_to_it() -> None:
    servers = legacy("OLLAMA_URL=http://a\nOLLAMA_HEAVY_URL=http://b\nOLLAMA_HEAVY_MODEL=m").servers
    assert told(servers[1]) == {"name": "ollama-heavy", "url": "http://b", "default_model": "m"}


def test_a_model_of_embeddings_reranking_or_vision_is_nobodys_default_model() -> None:
    servers = legacy(
        "OLLAMA_URL=http://a\nOLLAMA_VISION_URL=http://b\nOLLAMA_VISION_MODEL=m"
    ).servers
    assert told(servers[1]) == {"name": "ollama-vision", "url": "http://b"}


def test_default_model_is_unrelated_where_no_server_is() -> None:
    found = legacy("DEFAULT_MODEL=gpt-4o\nOTHER=1")
    assert (found.servers, found.skipped, len(found.unrelated)) == ((), (), 2)


@pytest.mark.parametrize(
    "name", ["OLLAMA_BASE_URLS", "OLLAMA_HOSTS", "OLLAMA_SERVERS", "OLLAMA_NODES", "OLLAMA_URL"]
)
@pytest.mark.parametrize("separator", [";", ",", " , ", "\n", ";\n"])
def test_a_list_has_servers_by_its_places(name: str, separator: str) -> None:
    text = f'{name}="http://one:11434{separator}http://two:11434{separator}"'
    assert urls(text) == {"ollama-1": "http://one:11434", "ollama-2": "http://two:11434"}


def test_a_prefix_is_part_of_the_names() -> None:
    text = "IMMICH_ANALYZE_OLLAMA_HOSTS=a:1,b:2\nX_OLLAMA_INSTANCES=http://c"
    names = ["immich-analyze-ollama-1", "immich-analyze-ollama-2", "x-ollama-1"]
    assert list(urls(text)) == names


@pytest.mark.parametrize(
    "text",
    [
        "OLLAMA_NODES=lab=http://one:11434/v1,local=http://two",
        'NOTES_QA_OLLAMA_SERVERS="lab=http://one:11434, local=http://two"',
        "GLEITZEIT_OLLAMA_INSTANCES=lab:http://one:11434,local:http://two",
        'OLLAMA_SERVERS=\'{"lab": "http://one:11434", "local": {"url": "http://two"}}\'',
        'OLLAMA_SERVERS=\'["lab=http://one:11434", "local=http://two"]\'',
    ],
)
def test_a_list_may_name_its_servers(text: str) -> None:
    assert urls(text) == {"lab": "http://one:11434", "local": "http://two"}


def test_a_bare_host_may_be_named() -> None:
    text = 'OLLAMA_SERVERS="lab=192.168.1.50,local=localhost"'
    assert urls(text) == {"lab": "http://192.168.1.50:11434", "local": "http://localhost:11434"}


def test_a_json_array_may_run_over_lines() -> None:
    text = (
        "OLLAMA_SERVERS='[\n"
        ' {"name": "GPU Server 1", "host": "192.168.1.100:11434", "ramGb": 16, "max_concurrent": '
        "2},\n"
        ' {"host": "192.168.1.101", "port": 8080, "model": "m", "capabilities": ["a", "b"], '
        '"enabled": false}\n'
        "]'\n"
    )
    first, second = legacy(text).servers
    assert told(first) == {
        "name": "GPU Server 1",
        "url": "http://192.168.1.100:11434",
        "max_concurrent": 2,
    }
    assert told(second) == {
        "name": "ollama-2",
        "url": "http://192.168.1.101:8080",
        "default_model": "m",
        "capabilities": ("a", "b"),
        "is_active": False,
    }
    assert why(text) == {"OLLAMA_SERVERS": "not kept: ramGb"}


def test_a_json_file_is_a_list_of_servers(tmp_path) -> None:
    path = tmp_path / "ollama_servers.json"
    path.write_text(
        json.dumps({"servers": [{"name": "a", "url": "http://a", "model": "m", "timeout": 3}]})
    )
    (server,) = read([envfile.read(path)]).servers
    assert told(server) == {"name": "a", "url": "http://a", "default_model": "m"}


@pytest.mark.parametrize(
    "value",
    [
        "[",
        "[1]",
        "[{}]",
        '[{"name":"a"}]',
        "[[]]",
        '[{"url":"http://a","priority":1.5}]',
        "[" * 100_000,
    ],
)
def test_json_that_is_no_list_of_servers_is_refused(value: str) -> None:
    assert ".env, line 1: OLLAMA_SERVERS " in refused(f"OLLAMA_SERVERS='{value}'")


def test_open_webui_configs_belong_to_the_places_of_the_list() -> None:
    configs = {
        "0": {"enable": True, "key": "k-0", "prefix_id": "a"},
        "1": {"enable": False, "tags": []},
    }
    first, second = legacy(
        f"OLLAMA_BASE_URLS=http://a;http://b\nOLLAMA_API_CONFIGS='{json.dumps(configs)}'"
    ).servers
    assert told(first) == {"name": "ollama-1", "url": "http://a", "is_active": True}
    assert told(second) == {"name": "ollama-2", "url": "http://b", "is_active": False}
    assert (auth(first), auth(second)) == (bearer("k-0"), {})


def test_open_webui_configs_of_a_single_url_and_of_old_files() -> None:
    single = only('OLLAMA_BASE_URL=http://a\nOLLAMA_API_CONFIGS=\'{"0": {"enable": false}}\'')
    old = legacy(
        'OLLAMA_BASE_URLS=http://a;http://b\nOLLAMA_API_CONFIGS=\'{"http://b": {"enable": false}}\''
    ).servers
    assert [told(server).get("is_active", True) for server in (single, *old)] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("configs", ['{"2": {}}', "[]", '{"0": 1}', "{"])
def test_open_webui_configs_that_do_not_fit_are_refused(configs: str) -> None:
    assert "line 2: OLLAMA_API_CONFIGS " in refused(
        f"OLLAMA_BASE_URLS=a;b\nOLLAMA_API_CONFIGS={configs}"
    )


def test_parallel_lists_belong_to_the_servers_of_the_list() -> None:
    text = "OLLAMA_HOSTS=a,b,\nOLLAMA_NAMES=x,y\nOLLAMA_PRIORITIES=1,2\nOLLAMA_MAX_CONCURRENT=3,4\n"
    assert [told(server) for server in legacy(text).servers] == [
        {"name": "x", "url": "http://a:11434", "priority": 1, "max_concurrent": 3},
        {"name": "y", "url": "http://b:11434", "priority": 2, "max_concurrent": 4},
    ]


def test_parallel_lists_of_different_lengths_are_refused() -> None:
    message = refused("OLLAMA_HOSTS=a,b\n\nOLLAMA_API_KEYS=k-one,k-two,k-three")
    assert "line 3: OLLAMA_API_KEYS has 3 entries, and OLLAMA_HOSTS has 2" in message
    assert "k-" not in message


def test_numbered_servers_with_the_number_behind() -> None:
    text = (
        "OLLAMA_URL_1=http://a:11434/v1\nOLLAMA_MODEL_1=m1\nOLLAMA_CAPABILITIES_1=general,reasoning\n"
        "OLLAMA_MAX_CONCURRENT_1=2\nOLLAMA_URL_3=http://c:11434/v1\nOLLAMA_PRIORITY_3=7\nOLLAMA_MODEL_2=lost\n"
    )
    first, third = legacy(text).servers
    assert told(first) == {
        "name": "ollama-1",
        "url": "http://a:11434",
        "api_version": "v1",
        "default_model": "m1",
        "capabilities": ("general", "reasoning"),
        "max_concurrent": 2,
    }
    assert told(third) == {
        "name": "ollama-3",
        "url": "http://c:11434",
        "api_version": "v1",
        "priority": 7,
    }
    assert why(text) == {"OLLAMA_MODEL_2": "no server has the number 2"}


def test_numbers_may_begin_with_zero_and_stand_beside_an_unnumbered_server() -> None:
    assert list(urls("OLLAMA_HOST_0=a\nOLLAMA_HOST_1=b")) == ["ollama-0", "ollama-1"]
    assert list(
        urls("OLLAMA_BASE_URL_1=b\nOLLAMA_BASE_URL=a\nOLLAMA_BASE_URL_10=d\nOLLAMA_BASE_URL_9=c")
    ) == [
        *("ollama", "ollama-1", "ollama-9", "ollama-10"),
    ]
    assert list(urls("OLLAMA_URL1=a\nOLLAMA_HOST02=b")) == ["ollama-1", "ollama-2"]


def test_numbered_servers_with_the_number_inside() -> None:
    text = (
        "OLLAMA_BASE_URL=http://a\nOLLAMA_SERVER_1_NAME=first\nOLLAMA_SERVER_2_NAME=second\n"
        "OLLAMA_SERVER_2_BASE_URL=http://b\nOLLAMA_SERVER_3=http://c\nOLLAMA_SERVER_2_ENABLED=no\n"
    )
    assert urls(text) == {"first": "http://a", "second": "http://b", "ollama-3": "http://c"}
    assert told(legacy(text).servers[1])["is_active"] is False


def test_a_number_between_a_provider_and_a_role() -> None:
    server = only(
        "PROVIDER_OLLAMA_1_URL=http://a\nPROVIDER_OLLAMA_1_CONCURRENCY=3\nPROVIDER_OLLAMA_1_NICKNAME=nick"
    )
    assert told(server) == {"name": "nick", "url": "http://a", "max_concurrent": 3}


def test_words_and_model_sizes_tell_servers_apart() -> None:
    text = (
        "OLLAMA_HOST_HEAVY=a\nOLLAMA_HOST_14B=b\nOLLAMA_MODEL_14B=qwen3:14b\nOLLAMA_PRIMARY_URL=c"
    )
    assert list(urls(text)) == ["ollama-heavy", "ollama-14b", "ollama-primary"]
    assert legacy(text).servers[1].fields["default_model"].value == "qwen3:14b"


def test_one_url_under_several_names_is_one_server() -> None:
    text = (
        "OLLAMA_HOST_1=http://a:11434\nOLLAMA_HOST_PRIMARY=${OLLAMA_HOST_1}\nOLLAMA_BASE_URL=http://a:11434/v1\n"
        "OLLAMA_MODEL=m\nOLLAMA_MODEL_1=n\nOLLAMA_PRIORITY_PRIMARY=3\n"
    )
    server = only(text)
    assert told(server) == {
        "name": "ollama",
        "url": "http://a:11434",
        "api_version": "v1",
        "default_model": "m",
        "priority": 3,
    }
    assert [binding.key for binding in server.fields["url"].also] == [
        "OLLAMA_HOST_1",
        "OLLAMA_HOST_PRIMARY",
    ]
    assert why(text) == {"OLLAMA_MODEL_1": "another value is used: OLLAMA_MODEL, line 4"}


def test_different_urls_never_share_a_name() -> None:
    text = (
        "OLLAMA_HOST=a\nOLLAMA_URL=b\nOLLAMA_BASE_URLS=c,d\n"
        "OLLAMA_URL_1=e\nOLLAMA_HOST_1=f\nX_OLLAMA_URL=g"
    )
    names = list(urls(text, "OLLAMA_HOST=h\nOLLAMA_URL_2=i", "OLLAMA_HOST=j"))
    assert len(set(names)) == 10
    assert names[:4] == ["ollama", "ollama-url", "x-ollama", "ollama-1"]


def test_each_file_has_an_unnumbered_server() -> None:
    first, second = legacy("OLLAMA_URL=a\nOLLAMA_MODEL=m", "OLLAMA_URL=b\nOLLAMA_MODEL=n").servers
    assert [first.fields["default_model"].value, second.fields["default_model"].value] == ["m", "n"]


def test_the_first_file_counts_for_a_url_of_several() -> None:
    found = legacy(
        "OLLAMA_URL=http://a\nOLLAMA_API_KEY=k-1\nOLLAMA_MODEL=m",
        "OLLAMA_HOST=http://a\nOLLAMA_API_KEY=k-2\nOLLAMA_MODEL=n\nOLLAMA_PRIORITY=2\nOLLAMA_PASSWORD=p",
    )
    (server,) = found.servers
    assert told(server) == {
        "name": "ollama",
        "url": "http://a",
        "default_model": "m",
        "priority": 2,
    }
    assert auth(server) == bearer("k-1")
    assert {
        skip.binding.key: skip.why for skip in found.skipped if skip.binding.file == "1.env"
    } == {
        "OLLAMA_API_KEY": "another value is used: .env, line 2: OLLAMA_API_KEY",
        "OLLAMA_MODEL": "another value is used: .env, line 3: OLLAMA_MODEL",
        "OLLAMA_PASSWORD": "another credential is used: .env, line 2: OLLAMA_API_KEY",
    }


def test_a_list_without_servers_says_so() -> None:
    reasons = why(
        "OLLAMA_HOSTS=0.0.0.0\nOLLAMA_URLS=' , '\nOLLAMA_NAMES=a,b\nOLLAMA_API_CONFIGS={}"
    )
    assert reasons == {
        "OLLAMA_HOSTS": "an address to listen on, not one to connect to",
        "OLLAMA_URLS": "says nothing that is kept",
        "OLLAMA_NAMES": "there is no list of servers to which it could belong",
        "OLLAMA_API_CONFIGS": "says nothing that is kept",
    }


def test_one_name_for_two_urls_is_refused() -> None:
    message = refused("OLLAMA_NODES=gpu=http://a,GPU=http://b")
    assert ".env, line 1: OLLAMA_NODES" in message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("OLLAMA_HOST=0.0.0.0", "an address to listen on"),
        ("OLLAMA_HOST=http://0.0.0.0:11434", "an address to listen on"),
        ("OLLAMA_HOST=[::]:11434", "an address to listen on"),
        ("OLLAMA_HOST=:11434", "an address to listen on"),
        ("OLLAMA_BASE_URL=/ollama", "a path on the program's own host"),
        ("OLLAMA_BASE_URL=http://your-server:11434", "a placeholder"),
        ("OLLAMA_BASE_URL=<url>", "a placeholder"),
        ("OLLAMA_BASE_URL=", "no value"),
        ("OLLAMA_BASE_URL", "no value: written without ="),
        ("OLLAMA_BASE_URL=http://${NOWHERE}:1", "needs ${NOWHERE}, which no line before it sets"),
        ("OLLAMA_API_KEY=EMPTY", "a placeholder"),
        ("OLLAMA_API_KEY=ollama", "a placeholder"),
        ("OLLAMA_API_KEY=your_api_key", "a placeholder"),
        ("OLLAMA_API_KEY=sk-xxxx", "a placeholder"),
        ("OLLAMA_API_KEY=<your key>", "a placeholder"),
        ("OLLAMA_API_KEY=changeme", "a placeholder"),
        ("OLLAMA_API_KEY=not-needed", "a placeholder"),
        ("OLLAMA_MODELS=/var/lib/ollama", layouts.SERVER_SETTING),
        ("OLLAMA_MODELS=~/models", layouts.SERVER_SETTING),
        ("OLLAMA_MODELS=llama3,hf.co/a/b:Q4", layouts.MODEL_LIST),
        ("OLLAMA_MODEL_LIST=a,b", layouts.MODEL_LIST),
        ("OLLAMA_TIMEOUT=30", "a time limit belongs to each request: --timeout"),
        ("OLLAMA_RESPONSE_TIMEOUT=30", "a time limit belongs to each request: --timeout"),
        ("OLLAMA_MODEL_TOKEN_LIMIT=4096", "an option belongs to each request: --option"),
        ("OLLAMA_VRAM_GB_2=24", "nothing is kept of it"),
        ("OLLAMA_HOST_VRAM_MAP=a:1", "nothing is kept of it"),
        ("OLLAMA_ENABLED=false", "there is no server to which it could belong"),
        ("OLLAMA_ADMIN_SECRET_KEY=x", layouts.OWN_SETTING),
        ("OLLAMA_WEIRD=1", layouts.NOT_UNDERSTOOD),
        ("USE_OLLAMA_MODEL=true", layouts.NOT_UNDERSTOOD),
        ("USE_OLLAMA=true", layouts.NOT_UNDERSTOOD),
        ("OLLAMA_GPU=1", layouts.NOT_UNDERSTOOD),
        ("OLLAMA_HOST_HEADER=x", layouts.NOT_UNDERSTOOD),
        ("OLLAMA=http://a", layouts.NOT_UNDERSTOOD),
        ("OLLAMA_URL_123456=http://a", layouts.NOT_UNDERSTOOD),
    ],
)
def test_a_trap_is_ignored_and_says_why(line: str, reason: str) -> None:
    found = legacy(line)
    assert found.servers == ()
    assert [skip.why for skip in found.skipped if skip.why.startswith(reason)]
    unknown = [skip.kind is Kind.UNKNOWN for skip in found.skipped]
    assert unknown == [reason == layouts.NOT_UNDERSTOOD]


@pytest.mark.parametrize("name", SERVER_SETTINGS)
def test_ollamas_own_settings_are_no_client_settings(name: str) -> None:
    assert why(f"{name}=http://gpu:11434") == {name: layouts.SERVER_SETTING}


def test_a_switch_of_the_program_does_not_disable_a_server() -> None:
    assert "is_active" not in told(only("OLLAMA_URL=a\nOLLAMA_ENABLED=false"))


def test_duplicate_keys_the_last_counts_and_the_others_are_listed() -> None:
    text = "OLLAMA_URL=http://a\nollama_url=http://b\nOTHER=1\nOLLAMA_URL=http://c\nOTHER=2"
    assert urls(text) == {"ollama": "http://c"}
    shadowed = [(skip.binding.line, skip.why) for skip in legacy(text).skipped]
    assert shadowed == [(line, "set again: .env, line 4: OLLAMA_URL is used") for line in (1, 2)]


@pytest.mark.parametrize(
    "line",
    [
        "OLLAMA_URL=ftp://a",
        "OLLAMA_URL=http://a b",
        "OLLAMA_URL=http://127.1",
        "OLLAMA_URL=http://a:99999",
        "OLLAMA_HOSTS=a,http://b c",
        "OLLAMA_URL=a\nOLLAMA_PORT=x",
        "OLLAMA_URL=a\nOLLAMA_MAX_CONCURRENT=0",
        "OLLAMA_URL=a\nOLLAMA_MAX_CONCURRENT=many",
        "OLLAMA_URL=a\nOLLAMA_PRIORITY=99999999999",
        "OLLAMA_URL=a\nOLLAMA_NAME=-x",
        "OLLAMA_URL=a\nOLLAMA_NAME=12",
        "OLLAMA_URL_1=a\nOLLAMA_ENABLED_1=perhaps",
        'OLLAMA_URL=a\nOLLAMA_CAPABILITIES="[1]"',
        'OLLAMA_URL="http://a\\a"',
        "OLLAMA_URL=http://a\x1b",
        "OLLAMA_URL=a\nOLLAMA_MODEL=m\x1b[0m",
        "OLLAMA_URL=a\nOLLAMA_API_KEY=k\x1b",
        "OLLAMA_URL=a\nOLLAMA_PASSWORD='k\n'",
        "OLLAMA_URL=http://u:a%0Ab@a",
        "OLLAMA_URL=http://u:%E2%82%AC@a",
        "OLLAMA_URL=http://u%3Av:p@a",
        "OLLAMA_URL=a\nOLLAMA_API_KEY='k\n'",
        "OLLAMA_URL=a\nOLLAMA_API_KEY=k€",
        "OLLAMA_URL=a\nOLLAMA_API_KEY=' k'",
        "OLLAMA_URL=a\nOLLAMA_API_KEY='k '",
        "OLLAMA_URL=a\nOLLAMA_USERNAME=u\nOLLAMA_PASSWORD='p '",
        "OLLAMA_URL=a\nOLLAMA_PASSWORD=p\nOLLAMA_USERNAME=u:v",
        "OLLAMA_URL=a\nOLLAMA_BASIC_AUTH='u:p '",
        "OLLAMA_URL=a\nOLLAMA_BASIC_AUTH=dTpwCg==",
        "OLLAMA_URL=a\nOLLAMA_AUTH_HEADER='X-Key: k€'",
        "OLLAMA_URL=a\nOLLAMA_AUTH_HEADER='X-Key: k '",
        "OLLAMA_URL=a\nOLLAMA_AUTH_HEADER='X-Key: k\nY: z'",
        """OLLAMA_URL=a\nOLLAMA_HEADERS='{"X-A": "k\\\\n"}'""",
        """OLLAMA_URL=a\nOLLAMA_HEADERS='{"X-A": "k\\\\u0000"}'""",
        """OLLAMA_URL=a\nOLLAMA_HEADERS='{"X-A": " k"}'""",
        """OLLAMA_URLS=a\nOLLAMA_API_CONFIGS='{"0": {"key": "k "}}'""",
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_place(line: str) -> None:
    number = line.count("\n", 0, line.rindex("OLLAMA_")) + 1
    assert refused(line).startswith(f".env, line {number}: OLLAMA_")


HUNTER = base64.b64encode(b"u:hunter2").decode()


def api_key(header: str | None, key: str = "hunter2") -> dict[str, object]:
    named = {} if header is None else {"auth_config.header_name": header}
    return {"auth_type": "api_key", **named, "auth_config.key": key}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OLLAMA_API_KEY=hunter2", bearer("hunter2")),
        ("OLLAMA_AUTH_TOKEN=hunter2", bearer("hunter2")),
        ("OLLAMA_BEARER_TOKEN='Bearer hunter2'", bearer("hunter2")),
        ("OLLAMA_AUTH_HEADER='Authorization: Bearer hunter2'", bearer("hunter2")),
        ("OLLAMA_AUTH_HEADER='Bearer hunter2'", bearer("hunter2")),
        ("OLLAMA_AUTH_HEADER='X-Key: hunter2'", api_key("X-Key")),
        (
            "OLLAMA_AUTH_HEADER='Authorization: Token hunter2'",
            api_key("Authorization", "Token hunter2"),
        ),
        (f"OLLAMA_AUTH_HEADER='Authorization: Basic {HUNTER}'", basic("hunter2")),
        ("OLLAMA_API_KEY=hunter2\nOLLAMA_AUTH_HEADER=X-Key", api_key("X-Key")),
        ("OLLAMA_API_KEY=hunter2\nOLLAMA_AUTH_HEADER=Authorization", bearer("hunter2")),
        ("OLLAMA_API_KEY=hunter2\nOLLAMA_AUTH_TYPE=api_key", api_key(None)),
        ("OLLAMA_USERNAME=u\nOLLAMA_PASSWORD=hunter2", basic("hunter2")),
        (
            "OLLAMA_USERNAME=u\nOLLAMA_PASSWORD=hunter2\nOLLAMA_API_KEY=k-1\nOLLAMA_AUTH_TYPE=bearer",
            bearer("k-1"),
        ),
        ("OLLAMA_BASIC_AUTH_USER=u\nOLLAMA_BASIC_AUTH_PASSWORD=hunter2", basic("hunter2")),
        ("OLLAMA_BASIC_AUTH=u:hunter2", basic("hunter2")),
        ("OLLAMA_BASIC_AUTH='Basic u:hun:ter2'", basic("hun:ter2")),
        (f"OLLAMA_BASIC_AUTH={HUNTER}", basic("hunter2")),
        ("OLLAMA_BASE_URL=https://u:hunter2@gpu", basic("hunter2")),
        ("OLLAMA_BASE_URL=https://u:hunter%32@gpu", basic("hunter2")),
        ('OLLAMA_HEADERS=\'{"Authorization": "Bearer hunter2"}\'', bearer("hunter2")),
    ],
)
def test_a_credential_is_read_in_every_spelling_and_shown_nowhere(
    text: str, expected: dict[str, object]
) -> None:
    found = legacy(f"OLLAMA_BASE_URL=https://gpu\n{text}")
    (server,) = found.servers
    assert server.url == "https://gpu"
    assert auth(server) == expected
    assert "hunter" not in repr(found)


def test_secrets_belong_to_the_server_of_their_number() -> None:
    first, second = legacy(
        "OLLAMA_BASE_URL=a\nOLLAMA_BASE_URL_2=b\nOLLAMA_API_KEY=k-0\nOLLAMA_API_KEY_2=k-2"
    ).servers
    assert (auth(first), auth(second)) == (bearer("k-0"), bearer("k-2"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("OLLAMA_PASSWORD=p", "a password without a user name"),
        ("OLLAMA_USERNAME=u", "a user name without a password"),
        ("OLLAMA_BASIC_AUTH=nonsense", "neither user:password nor its base64"),
        ("OLLAMA_BASIC_AUTH=u:", "neither user:password nor its base64"),
        ("OLLAMA_AUTH_HEADER=X-Key", "neither a whole header nor the name of one with a key"),
        (
            "OLLAMA_AUTH_HEADER='Content-Type: text/plain'",
            "neither a whole header nor the name of one with a key",
        ),
        (
            "OLLAMA_AUTH_HEADER='Authorization: Bearer EMPTY'",
            "neither a whole header nor the name of one with a key",
        ),
        (
            "OLLAMA_USERNAME=u\nOLLAMA_PASSWORD=p\nOLLAMA_AUTH_SCHEME=digest",
            "digest authentication is not supported",
        ),
        ("OLLAMA_API_KEY=k-1\nOLLAMA_AUTH_TYPE=none", "the auth scheme is none"),
        ("OLLAMA_API_KEY=k-1\nOLLAMA_AUTH_TYPE=hunter2", "the auth scheme is not known"),
        ("OLLAMA_API_KEY=k-1\nOLLAMA_AUTH_TYPE=basic", "the auth scheme is basic"),
        ("OLLAMA_AUTH_TYPE=basic", "no credential belongs to it"),
        ("OLLAMA_BEARER_TOKEN='Bearer EMPTY'", "a placeholder"),
        ("OLLAMA_HEADERS=nonsense", "no JSON object of headers"),
    ],
)
def test_a_credential_that_is_incomplete_or_not_spoken_is_ignored_and_says_why(
    text: str, reason: str
) -> None:
    found = legacy(f"OLLAMA_URL=a\n{text}")
    assert found.servers[0].auth == {}
    assert reason in [skip.why for skip in found.skipped]
    assert {skip.field for skip in found.skipped} <= {"auth_type", "auth_config", "headers", None}


def test_half_a_credential_in_a_url_is_not_completed_from_elsewhere() -> None:
    found = legacy("OLLAMA_URL=http://token@a\nOLLAMA_PASSWORD=p")
    assert found.servers[0].auth == {}
    assert "token" not in repr(found)


def test_a_second_credential_is_ignored_and_says_which_counts() -> None:
    reasons = why(
        "OLLAMA_URL=http://u:p@a\nOLLAMA_API_KEY=k-1\nOLLAMA_PASSWORD=q\nOLLAMA_BASIC_AUTH=u:r"
    )
    assert reasons == {
        "OLLAMA_API_KEY": "another credential is used: .env, line 1: OLLAMA_URL",
        "OLLAMA_PASSWORD": "another value is used: .env, line 1: OLLAMA_URL",
        "OLLAMA_BASIC_AUTH": "another credential is used: .env, line 1: OLLAMA_URL",
    }


def test_a_secret_that_is_told_twice_is_one_secret() -> None:
    found = legacy("OLLAMA_URL=http://u:p@a\nOLLAMA_HOST=http://u:p@a\nOLLAMA_PASSWORD=p")
    assert found.skipped == ()
    password = found.servers[0].auth["auth_config.password"]
    assert [binding.key for binding in (password.source, *password.also)] == [
        *("OLLAMA_URL", "OLLAMA_PASSWORD", "OLLAMA_HOST"),
    ]


def test_the_user_of_one_file_never_gets_the_password_of_another() -> None:
    found = legacy("OLLAMA_URL=http://a\nOLLAMA_USERNAME=u1", "OLLAMA_URL=http://u2:p2@a")
    server = found.servers[0]
    assert auth(server)["auth_config.username"] == "u2"
    assert [skip.binding.key for skip in found.skipped] == ["OLLAMA_USERNAME"]


def test_headers_are_secrets_one_by_one() -> None:
    text = (
        "OLLAMA_URL=a\nOLLAMA_API_KEY=k-1\nOLLAMA_AUTH_HEADER=X-Key\n"
        'OLLAMA_HEADERS=\'{\n "X-A": "b", "x-a": "c", "X-Empty": "", "X-Your": "<key>", "No Name": '
        '"n", "Host": "h",\n'
        ' "Authorization": "Bearer t", "x-key": "k", "X-Number": 1\n}\'\n'
    )
    found = legacy(text)
    assert auth(found.servers[0]) == {**api_key("X-Key", "k-1"), "headers.X-A": "b"}
    assert sorted(skip.why for skip in found.skipped) == [
        "'No Name' is not a header name",
        "a header that is given twice",
        "a header without a text",
        "a placeholder",
        "another credential is used: .env, line 2: OLLAMA_API_KEY",
        "header Host cannot be set: HTTP itself uses it",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "http://u:hunter2,x@gpu",
        "http://u:hunter2;x@gpu",
        "u:hunter2,x@gpu",
        "http://u:1,hunter2@gpu",
        "http://u:hunter2@gpu:99999",
        "http://u:hunter2@gp u",
        "a,http://u:hunter2@gpu?x=hunter2",
        "http://gpu?key=hunter2",
        "http://u:hunter2/x@gpu",
    ],
)
def test_a_url_that_cannot_be_read_shows_no_part_of_its_password(value: str) -> None:
    found = legacy(f"OLLAMA_URL='{value}'")
    (error,) = [skip.error for skip in found.skipped if skip.error]
    assert "hunter2" not in f"{found!r} {error.hint} {error.__cause__!r}"


def test_a_file_that_others_can_read_draws_a_warning_only_for_secrets(tmp_path: Path) -> None:
    def warnings(text: str, exposed: bool) -> int:
        path = tmp_path / ".env"
        path.write_text(text)
        path.chmod(0o640 if exposed else 0o600)
        return len(read([envfile.read(path)]).warnings)

    assert warnings("OLLAMA_URL=a\nOLLAMA_API_KEY=k-1", True) == 1
    assert warnings("OLLAMA_URL=http://u:p@a", True) == 1
    assert warnings("OLLAMA_URL=a\nOLLAMA_API_KEY=k-1", False) == 0
    assert warnings("OLLAMA_URL=a\nOLLAMA_API_KEY=EMPTY", True) == 0


def test_the_environment_is_read_like_a_file() -> None:
    found = read(
        [envfile.from_environ({"OLLAMA_HOST": "gpu", "PATH": "/bin", "OLLAMA_MODEL": "m"})]
    )
    assert [told(server) for server in found.servers] == [
        {"name": "ollama", "url": "http://gpu:11434", "default_model": "m"}
    ]
    assert len(found.unrelated) == 1


WORDS = (
    "OLLAMA URL URLS BASE HOST HOSTS SERVER SERVERS MODEL MODELS NAME NAMES 1 2 14B PRIMARY API "
    "KEY CONFIGS PASSWORD "
    "PORT HEADERS CAPABILITIES PRIORITY ENABLED X DEFAULT USE ADMIN VISION"
)
keys = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=4).map("_".join)
texts = st.text(st.sampled_from('ab1.:/@,;=[]{}" \n\x1b-é')) | st.sampled_from(
    [
        "http://a",
        "http://a/v1",
        "b",
        "a,b",
        "http://u:p@a;http://b",
        '["a","b"]',
        '{"0":{"key":"k"}}',
        "x=a,y=b",
        "7",
    ]
)


@given(st.dictionaries(keys, texts, max_size=8))
def test_any_variables_are_read_and_all_are_accounted_for(environ: dict[str, str]) -> None:
    found = read([envfile.from_environ(environ)])
    told_by = {
        binding
        for server in found.servers
        for told in server.everything.values()
        for binding in (told.source, *told.also)
    }
    seen = told_by | {skip.binding for skip in found.skipped} | set(found.unrelated)
    assert {binding.key for binding in seen} == set(environ)
    assert not told_by & set(found.unrelated)
    skipped = {skip.binding.key for skip in found.skipped if "OLLAMA" not in skip.binding.key}
    assert all(set(key.split("_")) & {"MODEL", "MODELS"} for key in skipped)
    assert len({server.name.casefold() for server in found.servers}) == len(found.servers)
    assert len({server.url for server in found.servers}) == len(found.servers)
