"""One tree of errors carries code, exit code and HTTP status; its picture in the docstring is the
tree.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ollama_admin import errors
from ollama_admin.documents import document
from ollama_admin.errors import AdminError


class Drawn(NamedTuple):
    parent: str
    exit_code: int
    http_status: int


# What scripts match on, written out again on purpose.
CODES = {
    "AddressRefused": "address_refused",
    "InvalidFile": "invalid_file",
    "Conflict": "conflict",
    "DatabaseBusy": "database_busy",
    "DatabaseUnavailable": "database_unavailable",
    "DemoFailed": "demo_failed",
    "LimitReached": "limit_reached",
    "RequestCancelled": "request_cancelled",
    "InvalidInput": "invalid_input",
    "ModelAmbiguous": "model_ambiguous",
    "ModelMismatch": "model_mismatch",
    "ModelNotFound": "model_not_found",
    "NotFound": "not_found",
    "PendingMigrations": "migrations_pending",
    "PromptTooLong": "prompt_too_long",
    "RemoteNotAllowed": "remote_not_allowed",
    "SchemaOutOfDate": "schema_out_of_date",
    "SecretUnavailable": "secret_unavailable",
    "ServerBusy": "server_busy",
    "ServerExists": "server_exists",
    "ServerInactive": "server_inactive",
    "FileConflict": "file_conflict",
    "StateChanged": "state_changed",
    "ServerFull": "server_full",
    "ServerNotFound": "server_not_found",
    "ServerUnauthorized": "server_unauthorized",
    "ServerUnreachable": "server_unreachable",
    "StreamInterrupted": "stream_interrupted",
    "UpstreamError": "upstream_error",
    "RequestRefused": "request_refused",
}


def descendants(root: type[AdminError]) -> Iterator[type[AdminError]]:
    for child in root.__subclasses__():
        yield child
        yield from descendants(child)


def draw() -> dict[str, Drawn]:
    """The docstring's tree. A number that is left out is the parent's."""
    rows: dict[str, Drawn] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r"(?P<branch>[│├└─ ]+)(?P<name>[A-Z]\w+)(?P<rest>[^.]*)", line)
        if not found:
            continue
        depth = len(found["branch"]) // 4
        above[depth - 1 :] = [found["name"]]
        parent = above[depth - 2] if depth > 1 else "AdminError"
        numbers = [int(number) for number in re.findall(r"\d+", found["rest"])]
        statuses = [number for number in numbers if number >= 100]
        exits = [number for number in numbers if number < 100]
        rows[found["name"]] = Drawn(
            parent=parent,
            exit_code=exits[0] if exits else rows[parent].exit_code,
            http_status=statuses[0] if statuses else rows[parent].http_status,
        )
    return rows


def test_the_tree_that_is_drawn_is_the_tree_of_the_classes() -> None:
    real = {
        kind.__name__: Drawn(kind.__bases__[0].__name__, kind.exit_code, kind.http_status)
        for kind in descendants(AdminError)
    }
    assert draw() == real


def test_every_code_is_the_known_one_and_no_two_are_equal() -> None:
    assert {kind.__name__: kind.code for kind in descendants(AdminError)} == CODES
    assert len(set(CODES.values())) == len(CODES)


def test_a_child_ends_the_program_as_its_parent_does() -> None:
    assert {
        (child.__name__, child.exit_code)
        for kind in descendants(AdminError)
        for child in kind.__subclasses__()
    } == {
        (child.__name__, kind.exit_code)
        for kind in descendants(AdminError)
        for child in kind.__subclasses__()
    }


@pytest.mark.parametrize(
    "kind", [AdminError, *descendants(AdminError)], ids=lambda kind: kind.__name__
)
def test_an_error_shows_its_message_and_becomes_the_same_document_everywhere(
    kind: type[AdminError],
) -> None:
    error = kind("no server named 'gpu-3'", "see: ollama-admin server list")
    expected = {
        "code": kind.code,
        "message": "no server named 'gpu-3'",
        "hint": "see: ollama-admin server list",
    }
    assert (str(error), error.document(), document(error)) == (
        "no server named 'gpu-3'",
        expected,
        expected,
    )
    assert kind("m").document()["hint"] is None


def test_no_error_looks_like_success_or_like_a_signal() -> None:
    # which is a bug of ours
    users = [kind for kind in descendants(AdminError) if kind is not errors.DemoFailed]
    assert {kind.exit_code for kind in users} == {2, 3, 4, 5, 6, 8}
    assert all(400 <= kind.http_status < 600 for kind in descendants(AdminError))
