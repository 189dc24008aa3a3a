"""Layouts met in the field: which servers and models they mean, and what is named instead."""

from pathlib import Path

import pytest

from ollama_admin.domain.secret import Secret
from ollama_admin.legacy import envfile, plan
from ollama_admin.legacy.reader import Legacy, read
from ollama_admin.legacy.servers import Kind

A, B, C = "http://a:11434", "http://b:11434", "http://c:11434"
LOCAL = "http://localhost:11434"


def legacy(text: str, name: str = ".env") -> Legacy:
    Path(name).write_text(text)
    return read([envfile.read(Path(name))])


def models(found: Legacy) -> dict[str, object]:
    """The default model of each server, by its URL."""
    return {server.url: value(server.fields.get("default_model")) for server in found.servers}


def value(sourced: object) -> object:
    return getattr(sourced, "value", None)


def auth(found: Legacy) -> dict[str, object]:
    """The credentials of the one server, in plain."""
    (server,) = found.servers
    return {
        name: each.value.reveal() if isinstance(each.value, Secret) else each.value
        for name, each in server.auth.items()
    }


def named(found: Legacy) -> dict[str, str]:
    return {skip.binding.key: skip.why for skip in found.skipped}


def errors(found: Legacy) -> list[str]:
    unreadable = [skip.binding for skip in found.skipped if skip.kind is Kind.ERROR]
    return [binding.key for binding in sorted(unreadable, key=lambda b: b.line or 0)]


SERVERS: dict[str, list[tuple[str, dict[str, str | None]]]] = {
    "endpoint, not server": [
        ("OLLAMA_API_URL=http://localhost:11434/api/generate", {LOCAL: None}),
        ("VITE_OLLAMA_API_URL=http://localhost:11434/api/generate", {LOCAL: None}),
        ("OLLAMA_URL=http://localhost:11434/api/tags", {LOCAL: None}),
        (f"OLLAMA_URL={A}/api/generate\nOLLAMA_EMBED_URL={A}/api/embeddings", {A: None}),
        (
            "OLLAMA_API_URL=https://gw.example.com/ollama/api/generate",
            {"https://gw.example.com/ollama": None},
        ),
        ("REACT_APP_OLLAMA_ENDPOINT=http://localhost:11434/api/chat", {LOCAL: None}),
        (f"OLLAMA_CHAT_URL={A}/v1/chat/completions\nOLLAMA_TAGS_URL={A}/v1/models", {A: None}),
    ],
    "scheme apart": [
        (
            "OLLAMA_HOST=ai.example.com\nOLLAMA_PORT=443\nOLLAMA_SCHEME=https",
            {"https://ai.example.com": None},
        ),
        ("OLLAMA_HOST=ai.example.com\nOLLAMA_PROTOCOL=https", {"https://ai.example.com": None}),
        (
            "OLLAMA_HOST=ai.example.com\nOLLAMA_PORT=8443\nOLLAMA_SSL=true",
            {"https://ai.example.com:8443": None},
        ),
        (
            "OLLAMA_USE_HTTPS=1\nOLLAMA_PORT=8443\nOLLAMA_HOST=ai.example.com",
            {"https://ai.example.com:8443": None},
        ),
        ("OLLAMA_HOST=ai.example.com\nOLLAMA_PORT=443", {"https://ai.example.com": None}),
        ("OLLAMA_HOST=ai.example.com:443", {"https://ai.example.com": None}),
        ("OLLAMA_HOST=a\nOLLAMA_PORT=11434\nOLLAMA_USE_TLS=false", {A: None}),
        (
            "OLLAMA_HOST_2=ai.example.com\nOLLAMA_PORT_2=9000\nOLLAMA_PROTO_2=https",
            {"https://ai.example.com:9000": None},
        ),
        ("OLLAMA_HOST=ai.example.com\nOLLAMA_TLS_ENABLED=true", {"https://ai.example.com": None}),
        (
            "OLLAMA_HOST=ai.example.com\nOLLAMA_PORT=443\nOLLAMA_SCHEME=http",
            {"http://ai.example.com:443": None},
        ),
        (f"OLLAMA_HOST={A}\nOLLAMA_SSL=true", {}),  # they say two things: a question
        ("OLLAMA_HOST=http://ai.example.com\nOLLAMA_PORT=443", {}),
    ],
    "no OLLAMA in the name": [
        (
            f"LLM_BINDING=ollama\nLLM_BINDING_HOST={A}\nEMBEDDING_BINDING_HOST={B}",
            {A: None, B: None},
        ),
        (f"LLM_BASE_URL={A}/v1\nLLM_MODEL_NAME=qwen3:14b", {A: "qwen3:14b"}),
        (f"LLM_API_BASE={A}", {A: None}),
        (
            "OPENAI_BASE_URL=http://host.docker.internal:11434/v1\nOPENAI_MODEL=qwen3",
            {"http://host.docker.internal:11434": "qwen3"},
        ),
        ("OPENAI_API_HOST=http://ollama/v1", {"http://ollama": None}),
        ("LITELLM_API_BASE=http://localhost:11434", {LOCAL: None}),
        (
            f"OLLAMA_BASE_URL={A}\nOPENAI_API_BASE_URLS={B}/v1;http://c:8080/v1",
            {A: None, B: None},
        ),
        (
            f"OLLAMA_BASE_PATH={A}\nEMBEDDING_ENGINE=ollama\nEMBEDDING_BASE_PATH={B}",
            {A: None, B: None},
        ),
        ("LLM_PROVIDER=ollama\nLLM_ENDPOINT=http://gpu/o\nLLM_MODEL=m", {"http://gpu/o": "m"}),
        ("AI_TYPE='ollama'\nAI_HOST=10.0.0.7\nAI_PORT=9000", {"http://10.0.0.7:9000": None}),
        ("aiBackendUrl=http://ollama.lan:11434", {"http://ollama.lan:11434": None}),
        (
            "GPU_SERVERS=10.0.0.7:11434,10.0.0.8:11434",
            {"http://10.0.0.7:11434": None, "http://10.0.0.8:11434": None},
        ),
        ("LLM_BASE_URL=https://api.openai.com/v1\nLLM_MODEL=gpt-4o", {}),
        ("DATABASE_URL=http://db:5432\nHOST=0.0.0.0\nPORT=8080", {}),
    ],
    "a model without OLLAMA": [
        (f"OLLAMA_BASE_URL={A}\nLLM_PROVIDER=ollama\nLOCAL_LLM=qwen3:8b", {A: "qwen3:8b"}),
        (f"OLLAMA_BASE_URL={A}\nLOCAL_MODEL=qwen2.5:7b", {A: "qwen2.5:7b"}),
        (f"OLLAMA_BASE_URL={A}\nLLM=llama2", {A: "llama2"}),
        (f"OLLAMA_BASE_URL={A}\nFAST_LLM=ollama:qwen2:1.5b", {A: None}),
        (f"OLLAMA_BASE_URL={A}\nROUTER_MODEL=ollama/qwen2.5", {A: None}),
        (f"LLM_MODEL=ollama/qwen3:8b\nOLLAMA_API_BASE={A}", {A: "qwen3:8b"}),
        (f"OLLAMA_BASE_URL={A}\nLLM=m\nLOCAL_MODEL=n", {A: None}),  # which of the two?
        (f"OLLAMA_BASE_URL={A}\nLLM_PROVIDER=openai\nLLM_MODEL=mixtral", {A: None}),
        (f"OLLAMA_BASE_URL={A}\nWHISPER_MODEL=base\nOPENAI_MODEL=gpt-4o", {A: None}),
        (f"OLLAMA_BASE_URL={A}\nEMBEDDING_MODEL=nomic-embed-text", {A: None}),
    ],
    "a model for a purpose": [
        (
            (
                f"OLLAMA_BASE_URL={A}\nEMBEDDING_OLLAMA_MODEL=nomic-embed-text\n"
                "CHAT_OLLAMA_MODEL=llama3.1:8b"
            ),
            {A: "llama3.1:8b"},
        ),
        (
            f"OLLAMA_EMBEDDING_BASE_URL={B}\nOLLAMA_LLM_BASE_URL={A}\nOLLAMA_LLM_MODEL=llama3.2:8b",
            {B: None, A: "llama3.2:8b"},
        ),
        (f"OLLAMA_BASE_URL={A}\nSMALL_OLLAMA_MODEL=s\nLARGE_OLLAMA_MODEL=l", {A: None}),
        (f"OLLAMA_URL={A}\nOLLAMA_VISION_URL={B}\nOLLAMA_VISION_MODEL=v", {A: None, B: None}),
        (f"OLLAMA_RERANKER_URL={B}\nOLLAMA_RERANKER_MODEL=r\nOLLAMA_MODEL=m", {B: "m"}),
        (
            f"OLLAMA_URL={A}\nOLLAMA_LLM_URL={B}\nOLLAMA_LLM_MODEL=m\nOLLAMA_MODEL=n",
            {A: "n", B: "m"},
        ),
        (
            f"OLLAMA_FAST_URL={A}\nOLLAMA_FAST_MODEL=f\nOLLAMA_HEAVY_URL={B}\nOLLAMA_HEAVY_MODEL=h",
            {A: "f", B: "h"},
        ),
    ],
    "words between": [
        (f"OLLAMA_REMOTE_1_URL={A}\nOLLAMA_REMOTE_2_URL={B}", {A: None, B: None}),
        (f"X_OLLAMA_RAM_URL={A}", {A: None}),
        (f"OLLAMA_LANG_HOSTS=en={A},fr={B}", {A: None, B: None}),
        (f"Ollama__BaseUrl={A}\nOllama__Model=m", {A: "m"}),
        (f"ConnectionStrings__ollama=Endpoint={A};Model=m", {A: "m"}),
        (f"OLLAMA_BACKENDS={A},{B}", {A: None, B: None}),
        (f"OLLAMA_BACKENDS='pc,{A},0,0\nmac,{B},1,0'", {A: None, B: None}),
        (f"OLLAMA_WORKERS={A},{B}", {A: None, B: None}),
        (f"OLLAMA_RACK7_URL={A}\nOLLAMA_RACK7_MODEL=m\nOLLAMA_RACK8_URL={B}", {A: "m", B: None}),
        (f"spring.ai.ollama.base-url={A}\nspring.ai.ollama.chat.model=m", {A: "m"}),
        (f"ollamaApiUrl={A}\nollamaModelName=m", {A: "m"}),
        (f"ConnectionStrings__llm='Endpoint={A};Key=k;Model=m;'", {A: "m"}),
        (f"OLLAMA_GPU_POOL={A} {B}", {A: None, B: None}),
    ],
    "counts": [
        (
            "NUMBER_OLLAMA_INSTANCES=4\nOLLAMA_HOST=http://10.0.0.4:11434",
            {"http://10.0.0.4:11434": None},
        ),
        (f"OLLAMA_HOST_1=11438\nOLLAMA_URL_2={B}", {B: None}),
        (f"OLLAMA_SERVERS=3\nOLLAMA_URL={A}", {A: None}),
        (f"OLLAMA_WORKERS=2\nOLLAMA_BACKEND_COUNT=2\nOLLAMA_URL={A}", {A: None}),
    ],
    "Kubernetes": [
        ("OLLAMA_HOST=ollama\nOLLAMA_PORT=tcp://10.96.36.99:11434", {"http://ollama:11434": None}),
        (
            (
                "OLLAMA_SERVICE_HOST=10.96.36.99\nOLLAMA_SERVICE_PORT=11434\n"
                "OLLAMA_PORT_11434_TCP_ADDR=10.96.36.99\nOLLAMA_HOST=http://ollama:11434"
            ),
            {"http://ollama:11434": None},
        ),
        (f"MY_LLM_PORT_11434_TCP=tcp://10.96.36.9:11434\nLLM_URL={A}", {A: None}),
    ],
    "placeholders": [
        (f"OLLAMA_BASE_URL=[YOUR_OLLAMA_URL]\nOLLAMA_URL_2={B}", {B: None}),
        (f"OLLAMA_REMOTE_URL=http://192.168.1.x:11434\nOLLAMA_URL_2={B}", {B: None}),
        (f"OLLAMA_URL=http://CHANGE_ME:11434\nOLLAMA_URL_2={B}", {B: None}),
        (f"OLLAMA_REMOTE_URL=http://<ip>:11434\nOLLAMA_URL_2={B}", {B: None}),
        (f"OLLAMA_URL=http://10.0.0.XXX:11434\nOLLAMA_URL_2={B}", {B: None}),
        (f"OLLAMA_URL='http://{{host}}:11434'\nOLLAMA_URL_2={B}", {B: None}),
    ],
    "spellings": [
        (f'MODELS=`[\n  {{"name": "x", "a": 1}},\n]`\nOLLAMA_URL={A}', {A: None}),
        (f"OLLAMA_HOST=x\nunset OLLAMA_HOST\nOLLAMA_URL={A}", {A: None}),
        (f"readonly X=1\ndeclare -x OLLAMA_URL={A}", {A: None}),
        (f"set -a\nsource other.env\nOLLAMA_URL={A}", {A: None}),
        (f"OLLAMA_GPU_URL=ollama://me:pw@h:8443\nOLLAMA_URL={A}", {A: None}),
        (f"OLLAMA_URL=${{A:-${{B:-{A}}}}}", {A: None}),
        (f"OLLAMA_URL=${{A-{A}}}", {A: None}),
        (f"OLLAMA_URL=${{A:={A}}}", {A: None}),
        (f"OLLAMA_URL_1=${{A:?set it}}\nOLLAMA_URL_2={B}", {B: None}),
        ("B=b\nOLLAMA_URL=http://${A:-${B}}:11434\nC=${B:+x}", {B: None}),
        (f"OLLAMA_URL_1=http://$(hostname):11434\nOLLAMA_URL_2={B}", {B: None}),
        (f"OLLAMA_URL_1=http://$GPU:11434\nOLLAMA_URL_2={B}", {B: None}),
        (f"OLLAMA_URL='open\nOLLAMA_URL_2={B}", {B: None}),
    ],
    "IPv6": [
        ("OLLAMA_HOST=fd00::5\nOLLAMA_PORT=11500", {"http://[fd00::5]:11500": None}),
        ("OLLAMA_HOST=[fd00::5]\nOLLAMA_PORT=11500", {"http://[fd00::5]:11500": None}),
        (
            "OLLAMA_HOSTS=fd00::5,fd00::6",
            {"http://[fd00::5]:11434": None, "http://[fd00::6]:11434": None},
        ),
    ],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(*case, id=f"{kind}-{number}")
        for kind, cases in SERVERS.items()
        for number, case in enumerate(cases)
    ],
)
def test_the_servers_are_found_with_their_models(
    text: str, expected: dict[str, str | None]
) -> None:
    assert models(legacy(text)) == expected


NAMED = [
    ("LLM_BINDING=ollama\nLLM_BINDING_HOST=http://a", "LLM_BINDING", "lines beside it"),
    (f"OLLAMA_URL={A}\nOPENAI_URLS={B};http://c:8080/v1", "OPENAI_URLS", "c:8080 is not known"),
    (f"OLLAMA_URL={A}\nFAST_LLM=ollama:qwen2:1.5b", "FAST_LLM", "a model for one purpose (fast)"),
    (f"OLLAMA_URL={A}\nROUTER_MODEL=ollama/q", "ROUTER_MODEL", "a model for one purpose (router)"),
    (f"OLLAMA_URL={A}\nSMALL_OLLAMA_MODEL=q", "SMALL_OLLAMA_MODEL", "one purpose (small)"),
    (f"OLLAMA_URL={A}\nEMBEDDING_OLLAMA_MODEL=q", "EMBEDDING_OLLAMA_MODEL", "(embedding)"),
    (f"OLLAMA_VISION_URL={A}\nOLLAMA_VISION_MODEL=q", "OLLAMA_VISION_MODEL", "(vision)"),
    (f"OLLAMA_URL={A}\nLLM=m\nLOCAL_MODEL=n", "LOCAL_MODEL", "several"),
    ("NUMBER_OLLAMA_INSTANCES=4", "NUMBER_OLLAMA_INSTANCES", "a number"),
    ("OLLAMA_HOST_1=11438", "OLLAMA_HOST_1", "http://localhost:11438"),
    ("OLLAMA_SERVERS=3", "OLLAMA_SERVERS", "a number"),
    ("OLLAMA_HOST=ollama\nOLLAMA_PORT=tcp://10.96.36.99:11434", "OLLAMA_PORT", "Kubernetes"),
    ("OLLAMA_SERVICE_HOST=10.96.36.99", "OLLAMA_SERVICE_HOST", "Kubernetes"),
    ("OLLAMA_BASE_URL=[YOUR_OLLAMA_URL]", "OLLAMA_BASE_URL", "a placeholder"),
    ("OLLAMA_REMOTE_URL=http://192.168.1.x:11434", "OLLAMA_REMOTE_URL", "a placeholder"),
    ("LLM_URL=http://your-host:11434", "LLM_URL", "a placeholder"),
    ("OLLAMA_HOST=x\nunset OLLAMA_HOST", "OLLAMA_HOST", "unset"),
    ("OLLAMA_URL=${A:?set it}", "OLLAMA_URL", "needs ${A}"),
    ("OLLAMA_URL=http://$GPU:11434", "OLLAMA_URL", "only a shell"),
    ("OLLAMA_URL=`hostname`", "OLLAMA_URL", "only a shell"),
    ("ALLOWED_ORIGINS=http://localhost:11434", "ALLOWED_ORIGINS", "not a server to ask"),
    ("HEALTHCHECK='curl -f http://ollama:11434/ || exit 1'", "HEALTHCHECK", "mentions"),
    ('MODELS=`[\n{"url": "http://a:11434", "x": [{}]}, 1\n]`', "MODELS", "mentions"),
    ("OLLAMA_MAX_CONCURENT_2=1", "OLLAMA_MAX_CONCURENT_2", "OLLAMA_MAX_CONCURRENT_2"),
    ("OLLAMA_CAPABILITES=x", "OLLAMA_CAPABILITES", "did you mean OLLAMA_CAPABILITIES"),
    ("OLLAMA_MODEL=m\nLLM_PROVIDER=ollama", "OLLAMA_MODEL", "there is no server"),
]


@pytest.mark.parametrize(("text", "key", "why"), NAMED)
def test_what_is_no_server_is_named_with_the_reason(text: str, key: str, why: str) -> None:
    assert why in named(legacy(text))[key]


ERRORS = [
    (f"OLLAMA_URL=http://u:hunter2@[bad\nOLLAMA_URL_2={A}", ["OLLAMA_URL"]),
    (f"OLLAMA_GPU_URL=ollama://me:hunter2@h:8443\nOLLAMA_URL={A}", ["OLLAMA_GPU_URL"]),
    (f"OLLAMA_URL='open\nOLLAMA_URL_2={A}", ["OLLAMA_URL"]),
    (
        f"OLLAMA_URL=http://a b\nOLLAMA_URL_1={A}\nOLLAMA_PRIORITY_1=x\nOLLAMA_MAX_CONCURRENT_1=0",
        ["OLLAMA_URL", "OLLAMA_PRIORITY_1", "OLLAMA_MAX_CONCURRENT_1"],
    ),
    (f"OLLAMA_HOSTS={A},http://b c", ["OLLAMA_HOSTS"]),
    (f"OLLAMA_URL={A}\nOLLAMA_API_KEY='k '", ["OLLAMA_API_KEY"]),
    (f"OLLAMA_URL={A}\nX='y' z\nOTHER='\n", ["X", "OTHER"]),
]


@pytest.mark.parametrize(("text", "keys"), ERRORS)
def test_a_line_that_cannot_be_read_is_named_and_the_others_are_read(
    text: str, keys: list[str]
) -> None:
    found = legacy(text)
    assert errors(found) == keys
    assert A in models(found)
    assert "hunter2" not in repr(found)


COMPOSE = """\
services:
  web:
    image: ghcr.io/open-webui/open-webui:main
    environment:
      OLLAMA_BASE_URL: "http://a:11434"  # the big one
      OLLAMA_MODEL: m
      LLM_URL: ${LLM_URL:-http://c:11434}
    ports:
      - "3000:8080"
  worker:
    environment:
      - OLLAMA_BASE_URL=http://b:11434
      - 'OLLAMA_API_KEY=k-1'
      - OLLAMA_TIMEOUT
  ollama:
    environment:
      - OLLAMA_HOST=0.0.0.0
"""


@pytest.mark.parametrize("name", ["docker-compose.yml", "compose.yaml"])
def test_a_compose_file_is_read_by_its_environments(name: str) -> None:
    found = legacy(COMPOSE, name)
    assert models(found) == {A: "m", C: None, B: None}
    assert [server.auth.keys() >= {"auth_config.token"} for server in found.servers] == [
        *(False, False, True),
    ]
    assert [b.line for b in found.bindings] == [5, 6, 7, 12, 13, 14, 17]
    assert "listen" in named(found)["OLLAMA_HOST"]


SHORTHANDS = """\
x-env: &env
  OLLAMA_URL: http://a:11434
services:
  a:
    environment:
      <<: *env
      OLLAMA_URL: >-
        http://b:11434
      'OLLAMA_MODEL': 'it''s'
  b:
    environment: {OLLAMA_URL: "http://c:11434", LLM: m}
    command: ["http://d:11434"]
"""


def test_a_compose_file_is_read_in_its_shorthands() -> None:
    found = legacy(SHORTHANDS, "compose.yml")
    assert models(found) == {A: None, B: "it's", C: "m"}


def test_an_environment_of_docker_keeps_quotes_that_are_not_meant() -> None:
    found = read(
        [
            envfile.from_environ(
                {
                    "OLLAMA_HOST": "'http://a:11434'",
                    "OLLAMA_MODEL": '"llama3.1:8b"',
                    "OLLAMA_API_KEY": '"k"',
                }
            )
        ]
    )
    assert models(found) == {A: "llama3.1:8b"}
    assert auth(found) == {"auth_type": "bearer", "auth_config.token": "k"}


def test_the_variables_of_a_pod_are_named() -> None:
    environ = {
        "OLLAMA_HOST": "ollama",
        "OLLAMA_PORT": "tcp://10.96.36.99:11434",
        "OLLAMA_PORT_11434_TCP": "tcp://10.96.36.99:11434",
        "OLLAMA_PORT_11434_TCP_PROTO": "tcp",
        "OLLAMA_SERVICE_HOST": "10.96.36.99",
        "OLLAMA_SERVICE_PORT_HTTP": "11434",
    }
    found = read([envfile.from_environ(environ)])
    assert models(found) == {"http://ollama:11434": None}
    assert set(named(found)) == set(environ) - {"OLLAMA_HOST"}


@pytest.mark.parametrize(
    "words",
    [
        ("CF_ACCESS_CLIENT_ID", "CF_ACCESS_CLIENT_SECRET"),
        ("CLOUDFLARE_ACCESS_CLIENT_ID", "CLOUDFLARE_ACCESS_CLIENT_SECRET"),
    ],
)
def test_a_token_of_cloudflare_access_is_two_headers(words: tuple[str, str]) -> None:
    one, two = (f"OLLAMA_{word}" for word in words)
    found = legacy(f"OLLAMA_URL={A}\n{one}=abc.access\n{two}=s3cr3t\nOLLAMA_API_KEY=k-1")
    assert auth(found) == {
        "auth_type": "bearer",
        "auth_config.token": "k-1",
        "headers.CF-Access-Client-Id": "abc.access",
        "headers.CF-Access-Client-Secret": "s3cr3t",
    }


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (f"OLLAMA_EMBEDDING_BASE_URL={A}\nOLLAMA_LLM_BASE_URL={B}", B),
        (f"EMBEDDING_BINDING_HOST={A}\nLLM_BINDING_HOST={B}", B),
        (f"OLLAMA_RERANK_URL={A}\nOLLAMA_URL_HEAVY={B}", B),
        (f"OLLAMA_VISION_URL={A}", A),
    ],
)
def test_a_server_for_one_purpose_is_not_the_default_beside_another(text: str, url: str) -> None:
    planned = plan.plan([], legacy(text), lambda _: {})
    assert [change.columns["url"] for change in planned.changes if change.make_default] == [url]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (f"LLM_BASE_URL={A}\nLLM_API_KEY=k-1", {"auth_type", "auth_config.token"}),
        (f"OPENAI_BASE_URL={A}/v1\nOPENAI_API_KEY=k-1", {"auth_type", "auth_config.token"}),
        (f"OLLAMA_BASE_URL={A}\nOPENAI_API_KEY=k-1\nAPI_KEY=k-2\nPASSWORD=p\nUSER=u", set()),
    ],
)
def test_a_key_without_ollama_belongs_to_a_server_of_its_own_prefix_only(
    text: str, keys: set[str]
) -> None:
    (server,) = legacy(text).servers
    assert set(server.auth) == keys
