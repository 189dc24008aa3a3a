"""`ollama-admin embed`"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ollama_admin.cli.auth import AuthOptions, takes_auth
from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, complete_first_word
from ollama_admin.cli.output import Output
from ollama_admin.cli.prompts import model_and_prompt, read_prompt
from ollama_admin.cli.request_options import WHAT_TO_SAY, EmbedOptions, takes_embedding
from ollama_admin.domain.answers import EmbedReply
from ollama_admin.domain.requests import credentials_without_url
from ollama_admin.errors import InvalidInput

if TYPE_CHECKING:
    from ollama_admin.client import Client

app = Commands()


@app.command("embed")
@takes_auth
@takes_embedding
def embed(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="The text; without -m, its first word may be the model.",
            show_default=False,
            autocompletion=complete_first_word,
        ),
    ] = None,
    stdin: Annotated[
        bool | None,
        typer.Option(
            "--stdin/--no-stdin",
            help="Read stdin after TEXT, or leave it alone, as in a loop.",
            show_default=False,
            rich_help_panel=WHAT_TO_SAY,
        ),
    ] = None,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines", help="Each line is a text of its own.", rich_help_panel=WHAT_TO_SAY
        ),
    ] = False,
    output: OutputOption = None,
    *,
    asked: EmbedOptions,
    auth: AuthOptions,
) -> None:
    """Print the vector of a text, by exactly the named model.

    The text, the model and the server are chosen as by `generate`, and the same is promised: that
    model answers, or the command fails, and no text is cut. A vector is a line of JSON; `-o json`
    also tells who made it.
    """
    shell = shell_of(context, output)
    if auth.is_given and asked.server_url is None:  # before a secret is asked for
        raise credentials_without_url()
    fields = asked.fields() | auth.columns()
    fields["model"], text = model_and_prompt(shell, words or (), asked.model, "embed")
    whole = read_prompt(shell.output, text, stdin=stdin)
    texts = _lines(whole) if lines else [whole]
    reply = shell.run(lambda client: _vectors(client, texts, fields))
    shell.show(reply, _print_vectors)


async def _vectors(client: "Client", texts: list[str], fields: dict[str, Any]) -> EmbedReply:
    return await client.embed(input=texts, **fields)


def _lines(text: str) -> list[str]:
    """The lines that are not blank; bytes of a line that only `\\n` ends."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise InvalidInput("there are no lines to make vectors of", "one text goes on each line")
    return lines


def _print_vectors(output: Output, reply: EmbedReply) -> None:
    for vector in reply.embeddings:
        output.line(output.json_text(vector))
