"""What to say of a model that nobody has: why, and what comes nearest. Pure."""

import difflib
import heapq
from collections.abc import Iterable, Sequence
from itertools import islice

from ollama_admin.domain.names import model_key, short_model_name
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import ModelNotFound
from ollama_admin.rules.routing import Obstacle, Verdict

NEAREST = 3  # names that a message has room for
# Servers say what they like: so many names are compared, so many letters of each, and so many names
# letter by letter, in a time that grows with the square of their lengths.
NAMES = 2000
LETTERS = 100
COMPARED = 30


def hint(asked: str, verdicts: Sequence[Verdict], known: list[str]) -> str:
    """What to do next where no active server may answer for a name; `known` are names that look
    like it, and others.
    """
    holders = [v.server.name for v in verdicts if v.obstacle is Obstacle.INACTIVE and v.models]
    near = nearest(asked, known)
    if holders:
        return f"inactive servers have it: {', '.join(holders)}"
    if any(verdict.obstacle is Obstacle.CAPABILITY for verdict in verdicts):
        return "it is there, without that capability: see ollama-admin models -o json"
    if near:
        return f"nearest: {', '.join(near)}"
    if not known:
        return "no models are known yet: run ollama-admin discover"
    return (
        "see what there is: ollama-admin models; after a change on a server: ollama-admin discover"
    )


def not_listed(asked: str, server: ServerRef, listed: list[str]) -> ModelNotFound:
    """The error of a server that does not list the model, with what it lists."""
    near = nearest(asked, listed) or listed[:NEAREST]
    lists = f"it lists: {', '.join(near)}" if near else "it lists no models"
    return ModelNotFound(f"server {server} does not list model {asked!r}", lists)


def nearest(asked: str, names: Iterable[str]) -> list[str]:
    """Up to NEAREST names that look like the one asked for, of the first NAMES."""
    by_key = {short_model_name(model_key(name)): name for name in islice(names, NAMES)}
    wanted = short_model_name(model_key(asked))
    same_model = [key for key in by_key if key.rpartition(":")[0] == wanted.rpartition(":")[0]]
    return [by_key[key] for key in dict.fromkeys(same_model + _close(wanted, by_key))][:NEAREST]


def _close(wanted: str, keys: Iterable[str]) -> list[str]:
    """Up to NEAREST keys that are spelt much like the wanted one, the most similar first."""
    matcher = difflib.SequenceMatcher(b=wanted[:LETTERS])

    def at_most(key: str) -> float:
        """A similarity that the true one does not exceed, found in one pass over the letters."""
        matcher.set_seq1(key[:LETTERS])
        return matcher.quick_ratio()

    likely = {key[:LETTERS]: key for key in heapq.nlargest(COMPARED, keys, key=at_most)}
    close = difflib.get_close_matches(wanted[:LETTERS], likely, n=NEAREST, cutoff=0.7)
    return [likely[beginning] for beginning in close]
