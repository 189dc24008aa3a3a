"""`ollama-admin chat`"""

from collections.abc import Callable
from typing import Annotated

import typer

from ollama_admin.cli.auth import AuthOptions, takes_auth
from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.conversation import Conversation
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, complete_model
from ollama_admin.cli.request_options import ChatOptions, takes_chat
from ollama_admin.cli.typed_lines import TypedLines
from ollama_admin.domain.requests import credentials_without_url
from ollama_admin.errors import AdminError, InvalidInput
from ollama_admin.safe_text import safe_text

app = Commands()

Act = Callable[[Conversation, str], None]

HELP = """\
/model NAME         go on with another model
/server [NAME]      ask only this server; without NAME, any that may answer
/set                show what is set
/set KEY [VALUE]    set an option of the model, as temperature 0; without VALUE, take it back
/set system [TEXT]  set the system text
/set think [on|off|low|medium|high|max]
/explain            show which server would answer next, and why no other
/clear              forget what was said
/help               show this
/bye                leave, as Ctrl-D does
\"\"\"                 begins and ends a text of several lines
Ctrl-C              ends an answer; what it answered is forgotten"""
LEAVING = ("/bye", "/exit", "/quit")


@app.command("chat")
@takes_auth
@takes_chat
def chat(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="The model, as -m names it.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Let control sequences through to a terminal.")
    ] = False,
    output: OutputOption = None,
    *,
    asked: ChatOptions,
    auth: AuthOptions,
) -> None:
    """Talk with exactly the named model, and nobody else.

    Model and server are chosen for each question as by `generate`: that model answers, or there is
    an error. What was said goes with the next question, and nothing of it is stored. `/help` shows
    what else can be typed.

    Lines of a pipe or a file are questions, one each; the first failure then ends the command. With
    `-o json` each answer is a line of JSON.
    """
    shell = shell_of(context, output)
    if auth.is_given and asked.server_url is None:  # before a secret is asked for
        raise credentials_without_url()
    fields = asked.fields() | auth.columns()
    if name is not None and asked.model is not None:
        raise InvalidInput("MODEL and -m are both given", "leave one of them out")
    fields["model"] = name or asked.model
    lines = TypedLines(shell.output)
    conversation = Conversation(shell, fields, raw=raw)
    if lines.is_terminal:
        conversation.require_answerable()
        shell.output.note("/help shows what can be typed; Ctrl-D leaves")
    while _turn(shell, lines, conversation):
        pass


def _turn(shell: Shell, lines: TypedLines, conversation: Conversation) -> bool:
    """One question and its answer, or a command; whether there may be another one."""
    try:
        entry = lines.next_entry()
        if entry is None or entry.strip() in LEAVING:
            if entry is None and lines.is_terminal:
                shell.output.stderr.write("\n")
            return False
        if entry.startswith("/"):
            _act(shell, conversation, entry)
        elif entry.strip():
            conversation.ask(entry)
    except AdminError as exc:
        if not lines.is_terminal:
            raise
        shell.output.error(exc)
    except KeyboardInterrupt:
        if not lines.is_terminal:
            raise
        shell.output.stderr.write("\n")
        shell.output.note("stopped; /bye or Ctrl-D leaves")
    return True


def _act(shell: Shell, conversation: Conversation, line: str) -> None:
    """Do what a line that begins with a slash says."""
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    match command:
        case "/help" | "/?":
            shell.output.log_lines(HELP.splitlines())
        case "/model":
            conversation.take_model(rest)
        case "/server":
            conversation.take_server(rest or None)
        case "/explain":
            conversation.explain()
        case "/clear":
            conversation.forget()
        case "/set" if not rest:
            settings = [safe_text(f"{name} {value}") for name, value in conversation.settings()]
            shell.output.log_lines(settings)
        case "/set":
            key, _, value = rest.partition(" ")
            conversation.set(key, value.strip() or None)
        case _:
            raise InvalidInput(
                f"there is no command {command!a}",
                "/help shows them; a space before the slash makes it a question",
            )
