"""`ollama-admin generate`"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ollama_admin.cli.answers import AnswerPrinter, pipe_of, read_by_somebody, wait_for_room
from ollama_admin.cli.auth import AuthOptions, takes_auth
from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, complete_first_word
from ollama_admin.cli.prompts import model_and_prompt, read_prompt
from ollama_admin.cli.request_options import WHAT_TO_SAY, RequestOptions, takes_request
from ollama_admin.cli.views.explanation import print_explanation
from ollama_admin.domain.answers import Reply
from ollama_admin.domain.requests import credentials_without_url

if TYPE_CHECKING:
    from ollama_admin.client import Client

app = Commands()

OUTPUT = "Output"  # a group of options in the help


@app.command("generate")
@takes_auth
@takes_request
def generate(  # long because each option is a line or two
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT",
            help="What to ask; without -m, its first word may be the model.",
            show_default=False,
            autocompletion=complete_first_word,
        ),
    ] = None,
    stdin: Annotated[
        bool | None,
        typer.Option(
            "--stdin/--no-stdin",
            help="Read stdin after PROMPT, or leave it alone, as in a loop.",
            show_default=False,
            rich_help_panel=WHAT_TO_SAY,
        ),
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Show text as it arrives, or only once accepted.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show which server would answer; send no prompt.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Let control sequences through to a terminal.", rich_help_panel=OUTPUT
        ),
    ] = False,
    stats: Annotated[
        bool,
        typer.Option("--stats", help="Print times and tokens on stderr.", rich_help_panel=OUTPUT),
    ] = False,
    output: OutputOption = None,
    *,
    asked: RequestOptions,
    auth: AuthOptions,
) -> None:
    """Answer a prompt from exactly the named model.

    That model answers, or the command fails. Nothing is ever pulled.

    Several words make one prompt. Without -m, the first word is the model if some server lists it.
    Text from a pipe or a file follows PROMPT after a newline, or is the prompt; a file that a loop
    is reading, as in `while read -r line; do ...; done < file`, is left to the loop. Without
    --server and --server-url, the first active server that lists the model answers, in the order
    default, priority, free slots, id; if it is away or at its limit, the next one that holds the
    same build.
    """
    shell = shell_of(context, output)
    if auth.is_given and asked.server_url is None:  # before a secret is asked for
        raise credentials_without_url()
    fields = asked.fields()
    fields.update(auth.columns())
    fields["model"], prompt = model_and_prompt(shell, words or (), asked.model)
    if explain:
        fields["prompt"] = prompt or ""
        explanation = shell.run(lambda client: client.explain(**fields))
        shell.show(explanation, print_explanation)
        return
    fields["prompt"] = read_prompt(shell.output, prompt, stdin=stdin)
    is_live = not shell.output.json
    if stream is not None:
        is_live = stream
    printer = AnswerPrinter(shell.output, live=is_live, raw=raw)
    reply = shell.run(lambda client: _answer(client, fields, printer))
    if stats and not shell.output.json:
        _print_stats(shell, reply)


async def _answer(client: "Client", fields: dict[str, Any], printer: AnswerPrinter) -> Reply:
    pipe = pipe_of(printer.stdout)
    with read_by_somebody(pipe):
        async with client.stream(**fields) as stream:
            try:
                async for piece in stream:
                    await wait_for_room(pipe)
                    printer.piece(piece)
            finally:
                printer.flush()
            printer.end(stream.reply)  # before the client closes, which waits for the receipt
            return stream.reply


def _print_stats(shell: Shell, reply: Reply) -> None:
    stats = reply.stats
    facts = {
        "server": str(reply.server),
        "model": reply.model,
        "total": _with_unit(stats.total_ms, "ms"),
        "first token": _with_unit(stats.time_to_first_token_ms, "ms"),
        "load": _with_unit(stats.load_ms, "ms"),
        "prompt": _with_unit(stats.prompt_tokens, "tokens"),
        "output": _with_unit(stats.output_tokens, "tokens"),
        "speed": _with_unit(stats.tokens_per_second, "tokens/s"),
        "ended by": reply.done_reason,
    }
    shell.output.note(", ".join(f"{name} {value}" for name, value in facts.items() if value))


def _with_unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value} {unit}"
