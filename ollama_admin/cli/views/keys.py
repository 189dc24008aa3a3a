"""How keys are shown."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.ordering import Field
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import age, print_facts, stamp, text_of
from ollama_admin.domain.values import fields_of
from ollama_admin.safe_text import safe_text

if TYPE_CHECKING:
    from ollama_admin.domain.keys import IssuedKey, Key

SORTABLE: "Mapping[str, Field[Key]]" = {
    "name": Field(value=lambda key: key.name.casefold()),
    "id": Field(value=lambda key: key.id),
    "used": Field(value=lambda key: key.last_used_at, descending=True),
    "expires": Field(value=lambda key: key.expires_at),
}
_UNCHANGED = ("updated_at", "last_used_at")


def print_issued(output: Output, issued: "IssuedKey") -> None:
    """Print the text of a key and nothing else."""
    output.line(issued.text.reveal())


def lines_of_issued(issued: "Iterable[IssuedKey]") -> Iterator[str]:
    """The texts of several new keys, each in a line with its name, which ends it."""
    for each in issued:
        yield f"{each.text.reveal()} {safe_text(each.key.name)}"


def usage_of(issued: "IssuedKey", change: str) -> Iterator[str]:
    """What to do with a text that is shown once."""
    key = issued.key
    yield f"{change} key {key.id}, {key.name}; its text is shown this once"
    yield "Ollama: OLLAMA_HOST=http://127.0.0.1:8421/k/KEY ollama list"
    yield "OpenAI: OPENAI_BASE_URL=http://127.0.0.1:8421/v1 OPENAI_API_KEY=KEY"
    yield "Anthropic: ANTHROPIC_BASE_URL=http://127.0.0.1:8421 ANTHROPIC_AUTH_TOKEN=KEY"
    if key.old_secret_expires_at is not None:
        yield f"the old text is taken until {stamp(key.old_secret_expires_at)}"


def print_keys(output: Output, keys: "Sequence[Key]") -> None:
    """Print a line for each key."""
    if not keys:
        output.note("no keys; add one with: ollama-admin key add NAME")
        return
    headings = ["ID", "NAME", "CAN", "MODELS", "SERVERS", "STATE", "USED"]
    more = ["AT ONCE", "REQ/MIN", "TOK/DAY", "NETWORKS", "EXPIRES", "NOTE"]
    print_table(output, headings, map(_cells, keys), more)


def _cells(key: "Key") -> Cells:
    return (
        str(key.id),
        key.name,
        ", ".join(key.can),
        ", ".join(key.models) or "all",
        ", ".join(key.servers) or "all",
        _state(key),
        age(key.last_used_at),
        text_of(key.max_concurrent),
        text_of(key.requests_per_minute),
        text_of(key.tokens_per_day),
        ", ".join(key.networks) or "all",
        stamp(key.expires_at),
        key.note,
    )


def _state(key: "Key") -> str:
    if not key.is_active:
        return Wrong("revoked")
    if key.is_over(datetime.now(UTC)):
        return Wrong("expired")
    return "anonymous" if key.anonymous else "active"


def print_key(output: Output, key: "Key") -> None:
    """Print every field, one a line."""
    facts = fields_of(key) | {"public_id": f"oadm_{key.public_id}_..."}
    print_facts(output, ((name.replace("_", " "), _value(value)) for name, value in facts.items()))


def update_of(before: "Key") -> "Callable[[Output, Key], None]":
    """What prints a changed key: each field with its value before and now."""

    def print_update(output: Output, after: "Key") -> None:
        old, new = fields_of(before), fields_of(after)
        changed = [name for name in old if old[name] != new[name] and name not in _UNCHANGED]
        if not changed:
            output.sentence(f"nothing changed in key {after.id}, {after.name}")
            return
        output.sentence(f"changed key {after.id}, {after.name}")
        for name in changed:
            output.sentence(f"  {name}: {_value(old[name])} -> {_value(new[name])}")

    return print_update


def _value(value: object) -> str:
    match value:
        case tuple() | list():
            return ", ".join(map(str, value)) or "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return str(stamp(value))
        case None:
            return "-"
        case _:
            return str(value)
