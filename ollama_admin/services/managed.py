"""What a change at servers is about: one model, and servers that were said, never guessed."""

from typing import Any

from ollama_admin.domain import names
from ollama_admin.domain.callers import Rights
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.servers import Server
from ollama_admin.errors import InvalidInput
from ollama_admin.rules import arguments
from ollama_admin.services.catalogue import named_server, require_model
from ollama_admin.services.targets import Targets


def one_model(text: str, rights: Rights, what: str = "model") -> ModelName:
    """The name of one model that the caller may ask; InvalidInput for a glob, or a digest in a
    name, and ModelNotFound for a model that it may not. `what` is the argument's own name.
    """
    arguments.need(**{what: text})
    if names.is_glob(text):
        raise InvalidInput(f"{text!a} is a glob, and this takes one model", "name the model")
    if "@" in text:
        raise InvalidInput(
            f"{text!a} names a digest, which Ollama takes in no name", "demand it with --digest D"
        )
    name = ModelName.parse(text)
    require_model(rights, text)
    return name


def require_said(targets: Targets) -> None:
    """Raise InvalidInput where nothing says at which servers."""
    if not targets.is_given:
        raise InvalidInput(
            "no server is named",
            "say which: --on S, --capability C, --label K=V, or --all for every one",
        )


def changeable(connection: Any, targets: Targets, rights: Rights) -> list[Server]:
    """The rows of `meant` without servers that are not Ollama, at which nothing can be changed,
    unless they are named.
    """
    rows = meant(connection, targets, rights)
    if targets.names:
        return rows
    return [row for row in rows if row.is_ollama is not False]


def meant(connection: Any, targets: Targets, rights: Rights) -> list[Server]:
    """The rows of the servers that are meant and that the caller may ask. Raises ServerNotFound."""
    if not rights.servers:
        return targets.servers(connection)
    for server in targets.names:
        named_server(connection, server, rights)
    rows = targets.servers(connection)
    return [row for row in rows if rights.may_ask_server(row)]
