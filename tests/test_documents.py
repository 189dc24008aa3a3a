"""The JSON that scripts depend on, its keys written out again on purpose."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ollama_admin.documents import document, results
from ollama_admin.domain.answers import Attempt, Proof, Reply, Stats
from ollama_admin.domain.models import DigestChange, DiscoverResult, Model, ModelGroup, ModelHolder
from ollama_admin.domain.servers import (
    ApiVersion,
    AuthType,
    CheckResult,
    Server,
    ServerRef,
    ServerStatus,
)
from ollama_admin.errors import ServerBusy, ServerUnreachable

NOON = datetime(2026, 1, 2, 12, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
NOON_UTC = "2026-01-02T10:00:00Z"
REF = ServerRef(id=1, name="gpu", url="http://gpu:11434")
REF_KEYS = {"id": 1, "name": "gpu", "url": "http://gpu:11434"}


def server(**columns: Any) -> Server:
    usual: dict[str, Any] = {
        "id": 1,
        "name": "gpu",
        "url": "http://gpu:11434",
        "api_version": ApiVersion.NATIVE,
        "capabilities": ("vision",),
        "max_concurrent": 2,
        "priority": -1,
        "is_default": True,
        "is_active": True,
        "default_model": "alpha",
        "auth_type": AuthType.NONE,
        "auth_config": {},
        "headers": {},
        "status": ServerStatus.ONLINE,
        "version": "0.33.0",
        "last_error": None,
        "last_seen_at": NOON,
        "last_discovered_at": None,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Server(**(usual | columns))


def parsed(value: Any) -> Any:
    """What a script reads."""
    return json.loads(json.dumps(document(value)))


def test_a_server() -> None:
    assert parsed(server()) == {
        "id": 1,
        "name": "gpu",
        "url": "http://gpu:11434",
        "api_version": "native",
        "capabilities": ["vision"],
        "max_concurrent": 2,
        "slots_in_use": 0,
        "priority": -1,
        "is_default": True,
        "is_active": True,
        "default_model": "alpha",
        "auth_type": "none",
        "auth_config": {},
        "headers": {},
        "status": "online",
        "version": "0.33.0",
        "last_error": None,
        "last_seen_at": NOON_UTC,
        "last_discovered_at": None,
        "created_at": NOON_UTC,
        "updated_at": NOON_UTC,
        "labels": {},
        "is_draining": False,
        "status_since": None,
        "status_at": None,
        "latency_ms": None,
        "failures": 0,
        "asked_last_until": None,
        "managed_by": None,
        "ca_file": None,
        "client_cert_file": None,
        "client_key_file": None,
        "proxy": None,
    }


@pytest.mark.parametrize(
    ("kind", "config", "shown"),
    [
        (
            AuthType.BASIC,
            {"username": "u", "password": "hunter2"},
            {"username": "u", "password": "********"},
        ),
        (AuthType.BEARER, {"token": "hunter2"}, {"token": "********"}),
        (
            AuthType.API_KEY,
            {"header_name": "X-Key", "key": "hunter2"},
            {"header_name": "X-Key", "key": "********"},
        ),
    ],
)
def test_a_secret_of_a_server_is_never_shown(
    kind: AuthType, config: dict[str, str], shown: dict[str, str]
) -> None:
    row = server(auth_type=kind, auth_config=config, headers={"CF-Access-Client-Secret": "hunter2"})
    told = parsed(row)
    assert told["auth_config"] == shown
    assert told["headers"] == {"CF-Access-Client-Secret": "********"}
    assert "hunter2" not in repr(row)


def test_a_model() -> None:
    row = Model(
        id=3,
        server_id=1,
        server="gpu",
        name="alpha:latest",
        digest="a" * 64,
        size=2**40,
        format="gguf",
        family="llama",
        families=("llama", "clip"),
        parameter_size="7.6B",
        quantization_level="Q4_K_M",
        context_length=4096,
        embedding_length=None,
        capabilities=("completion",),
        modified_at=NOON,
        is_available=True,
        first_seen_at=NOON,
        last_seen_at=NOON,
        digest_changed_at=None,
    )
    assert parsed([row]) == [
        {
            "id": 3,
            "server": "gpu",
            "server_id": 1,
            "name": "alpha:latest",
            "digest": "a" * 64,
            "size": 2**40,
            "format": "gguf",
            "family": "llama",
            "families": ["llama", "clip"],
            "parameter_size": "7.6B",
            "quantization_level": "Q4_K_M",
            "context_length": 4096,
            "embedding_length": None,
            "capabilities": ["completion"],
            "modified_at": NOON_UTC,
            "remote_host": None,
            "remote_model": None,
            "is_available": True,
            "first_seen_at": NOON_UTC,
            "last_seen_at": NOON_UTC,
            "digest_changed_at": None,
            "pinned": None,
        }
    ]


def test_a_reply() -> None:
    reply = Reply(
        response="I am alpha",
        thinking="",
        model="alpha:latest",
        server=ServerRef(id=None, name=None, url="http://gpu:11434"),
        digest="b" * 64,
        verified=False,
        proof=Proof.NAME,
        drift=DigestChange(name="alpha:latest", before="a" * 64, after="b" * 64),
        truncated=None,
        done_reason="stop",
        stats=Stats(
            total_ms=12,
            load_ms=3,
            prompt_tokens=25,
            output_tokens=4,
            tokens_per_second=99.5,
            time_to_first_token_ms=7,
        ),
        attempts=(
            Attempt(
                server=REF, error=ServerBusy("server gpu is busy (503)", "try again later"), ms=5
            ),
        ),
    )
    assert parsed(reply) == {
        "response": "I am alpha",
        "thinking": "",
        "model": "alpha:latest",
        "server": {"id": None, "name": None, "url": "http://gpu:11434"},
        "digest": "b" * 64,
        "verified": False,
        "proof": "name",
        "drift": {"from": "a" * 64, "to": "b" * 64},
        "truncated": None,
        "done_reason": "stop",
        "stats": {
            "total_ms": 12,
            "load_ms": 3,
            "prompt_tokens": 25,
            "output_tokens": 4,
            "tokens_per_second": 99.5,
            "time_to_first_token_ms": 7,
        },
        "attempts": [
            {
                "server": REF_KEYS,
                "error": {
                    "code": "server_busy",
                    "message": "server gpu is busy (503)",
                    "hint": "try again later",
                },
                "ms": 5,
            }
        ],
    }


def test_a_reply_without_drift_says_null() -> None:
    stats = Stats(
        total_ms=1,
        load_ms=None,
        prompt_tokens=None,
        output_tokens=None,
        tokens_per_second=None,
        time_to_first_token_ms=None,
    )
    reply = Reply(
        response="",
        thinking="",
        model="m",
        server=REF,
        digest=None,
        verified=False,
        proof=Proof.REMOTE,
        drift=None,
        truncated=False,
        done_reason=None,
        stats=stats,
    )
    told = parsed(reply)
    assert (told["drift"], told["attempts"], told["proof"], told["server"]) == (
        None,
        [],
        "remote",
        REF_KEYS,
    )


def test_the_result_of_a_check() -> None:
    fine = CheckResult(server=REF, status=ServerStatus.ONLINE, version="0.33.0", ms=4)
    failed = CheckResult(
        server=REF,
        status=ServerStatus.OFFLINE,
        version=None,
        ms=5,
        error=ServerUnreachable("refused", "start it"),
    )
    assert json.loads(json.dumps(results((fine, failed), failed=1))) == {
        "results": [
            {
                "server": REF_KEYS,
                "status": "online",
                "version": "0.33.0",
                "ms": 4,
                "error": None,
                "model": None,
            },
            {
                "server": REF_KEYS,
                "status": "offline",
                "version": None,
                "ms": 5,
                "error": {"code": "server_unreachable", "message": "refused", "hint": "start it"},
                "model": None,
            },
        ],
        "failed": 1,
    }


def test_the_result_of_a_discovery() -> None:
    found = DiscoverResult(
        server=REF,
        added=("a:latest",),
        changed=(DigestChange(name="b:latest", before=None, after="b" * 64),),
        unchanged=7,
        vanished=("c:latest",),
        pruned=1,
    )
    assert parsed(found) == {
        "server": REF_KEYS,
        "added": ["a:latest"],
        "changed": [{"name": "b:latest", "from": None, "to": "b" * 64}],
        "unchanged": 7,
        "vanished": ["c:latest"],
        "pruned": 1,
        "off_pin": [],
        "error": None,
    }
    failed = parsed(DiscoverResult(server=REF, error=ServerUnreachable("refused")))
    assert failed["error"] == {"code": "server_unreachable", "message": "refused", "hint": None}


def test_models_by_name() -> None:
    group = ModelGroup(
        name="alpha:latest",
        builds=2,
        servers=(
            ModelHolder(server="gpu", digest="a" * 64, is_available=True),
            ModelHolder(server="old", digest=None, is_available=False),
        ),
    )
    assert parsed((group,)) == [
        {
            "name": "alpha:latest",
            "builds": 2,
            "pinned": None,
            "servers": [
                {"server": "gpu", "digest": "a" * 64, "is_available": True},
                {"server": "old", "digest": None, "is_available": False},
            ],
        }
    ]


def test_a_time_is_shown_in_utc_to_the_second() -> None:
    assert document(NOON) == NOON_UTC
    assert document(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00Z"
