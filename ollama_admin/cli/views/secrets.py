"""How the state of stored secrets is shown."""

from typing import TYPE_CHECKING

from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import print_facts

if TYPE_CHECKING:
    from ollama_admin.services.secrets import SecretsStatus


def print_status(output: Output, status: "SecretsStatus") -> None:
    """Print where the key comes from and how many secrets it opens, one fact a line."""
    facts: list[tuple[str, object]] = [
        ("key source", status.key_source),
        ("keys", status.keys),
        ("secrets", status.secrets),
        ("stale", status.stale),
        ("unreadable", ", ".join(status.unreadable)),
    ]
    print_facts(output, facts)
