"""What to say of a model that nobody has: why, and what comes nearest. Pure."""

from collections.abc import Sequence

from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import InvalidInput, ModelNotFound
from ollama_admin.rules.likeness import NEAREST, nearest
from ollama_admin.rules.routing import Obstacle, Verdict


def hint(asked: str, verdicts: Sequence[Verdict], known: list[str]) -> str:
    """What to do next where no active server may answer for a name; `known` are names that look
    like it, and others.
    """
    holders = [v.server.name for v in verdicts if v.obstacle is Obstacle.INACTIVE and v.models]
    near = nearest(asked, known)
    if holders:
        return f"inactive servers have it: {', '.join(holders)}"
    if any(verdict.obstacle is Obstacle.LABEL for verdict in verdicts):
        return "it is there, but without that label: see ollama-admin server list -o json"
    if any(verdict.obstacle is Obstacle.CAPABILITY for verdict in verdicts):
        return "it is there, but without that capability: see ollama-admin models -o json"
    if near:
        return f"nearest: {', '.join(near)}"
    if not known:
        return "no models are known yet: run ollama-admin discover"
    return (
        "see what there is: ollama-admin models; after a change on a server: ollama-admin discover"
    )


def limits(capability: str | None, labels: Sequence[str]) -> str:
    """What was asked of a server beside the model, as it stands in an error; may be empty."""
    words = [f"the label {text}" for text in labels]
    if capability:
        words.append(f"the capability {capability!r}")
    if not words:
        return ""
    return f" with {' and '.join(words)}"


def not_listed(asked: str, server: ServerRef, listed: list[str]) -> ModelNotFound:
    """The error of a server that does not list the model, with what it lists."""
    near = nearest(asked, listed) or listed[:NEAREST]
    lists = f"it lists: {', '.join(near)}" if near else "it lists no models"
    return ModelNotFound(f"server {server} does not list model {asked!r}", lists)


def no_vision(asked: str, seeing: Sequence[str]) -> InvalidInput:
    """The error of images for a model that takes none; `seeing` are models that do."""
    hint = "no model of the active servers takes images, as far as the last discovery found"
    if seeing:
        hint = f"these take images: {', '.join(seeing)}"
    return InvalidInput(f"model {asked!r} takes no images", hint)
