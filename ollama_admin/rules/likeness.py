"""Names that look like another one, for hints. Pure."""

import difflib
import heapq
from collections.abc import Iterable
from itertools import islice

from ollama_admin.domain.names import DEFAULT_TAG, model_key, server_key, short_model_name

NEAREST = 3  # names that a message has room for
# Servers say what they like: so many names are compared, so many letters of each, and so many names
# letter by letter, in a time that grows with the square of their lengths.
NAMES = 2000
LETTERS = 100
COMPARED = 30


def nearest(asked: str, names: Iterable[str]) -> list[str]:
    """Up to NEAREST names that look like the one asked for, of the first NAMES.

    First other tags of the same model, those that begin so and then the most similar ones; then
    other names that begin so, and names that are spelt alike.
    """
    by_key = {short_model_name(model_key(name)): name for name in islice(names, NAMES)}
    wanted = short_model_name(model_key(asked))
    model = wanted.rpartition(":")[0]
    same_model = [key for key in by_key if key.rpartition(":")[0] == model]
    beginning = wanted.removesuffix(f":{DEFAULT_TAG}")
    near = _beginning(beginning, same_model)
    if len(near) < NEAREST:
        near += _close(wanted, same_model, cutoff=0) + _beginning(beginning, by_key)
        near += _close(wanted, by_key)
    return [by_key[key] for key in dict.fromkeys(near)][:NEAREST]


def nearest_servers(asked: str, names: Iterable[str]) -> list[str]:
    """Up to NEAREST names of servers that begin like the one asked for, or are spelt alike, of the
    first NAMES.
    """
    by_key = {server_key(name): name for name in islice(names, NAMES)}
    wanted = server_key(asked)
    near = _beginning(wanted, by_key) + _close(wanted, by_key)
    return [by_key[key] for key in dict.fromkeys(near)][:NEAREST]


def _beginning(wanted: str, keys: Iterable[str]) -> list[str]:
    """Keys that begin so; all do with nothing, which tells nothing."""
    return [key for key in keys if wanted and key.startswith(wanted)]


def _close(wanted: str, keys: Iterable[str], cutoff: float = 0.7) -> list[str]:
    """Up to NEAREST keys that are spelt like the wanted one, the most similar first; `cutoff` is
    how similar at least, from 0 to 1.
    """
    matcher = difflib.SequenceMatcher(b=wanted[:LETTERS])

    def at_most(key: str) -> float:
        """A similarity that the true one does not exceed, found in one pass over the letters."""
        matcher.set_seq1(key[:LETTERS])
        return matcher.quick_ratio()

    likely = {key[:LETTERS]: key for key in heapq.nlargest(COMPARED, keys, key=at_most)}
    close = difflib.get_close_matches(wanted[:LETTERS], likely, n=NEAREST, cutoff=cutoff)
    return [likely[beginning] for beginning in close]
