"""A conversation in the terminal: what was said so far, and how the next question is asked."""

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ollama_admin.cli.answers import AnswerPrinter, pipe_of, read_by_somebody, wait_for_room
from ollama_admin.cli.context import Shell
from ollama_admin.cli.request_options import ThinkLevelChoice, model_options
from ollama_admin.cli.views.explanation import print_explanation
from ollama_admin.domain.answers import Reply
from ollama_admin.domain.requests import GenerateRequest, Message
from ollama_admin.errors import InvalidInput
from ollama_admin.rules.request_checks import check_option

if TYPE_CHECKING:
    from ollama_admin.client import Client
    from ollama_admin.domain.explanations import Explanation

_THINKING: dict[str, bool | str] = {"on": True, "off": False} | {
    level.value: level.value for level in ThinkLevelChoice
}
_CREDENTIALS = ("auth_type", "auth_config", "headers")


class Conversation:
    """`fields` are those of every request. A question that was not answered is no part of what was
    said.
    """

    def __init__(self, shell: Shell, fields: Mapping[str, Any], *, raw: bool) -> None:
        self._shell = shell
        self._output = shell.output
        self._fields = dict(fields)
        self._raw = raw
        self._said: list[Message] = []
        # equals are asked in the same order each time: one of them has the conversation in memory
        self._affinity = secrets.token_bytes(16)

    def ask(self, text: str) -> None:
        """Ask, and print the answer as it comes; whatever goes wrong is raised."""
        question: Message = {"role": "user", "content": text}
        request = self._request(self._fields, question)
        self._output.begin_turn()
        printer = AnswerPrinter(self._output, live=not self._output.json, raw=self._raw)
        reply = self._shell.run(lambda client: self._answer(client, request, printer))
        answer: Message = {"role": "assistant", "content": reply.response}
        self._said += [question, answer]

    def explain(self) -> None:
        """Show which server would answer now, and why no other; nothing is sent."""
        self._shell.show(self._explained(self._fields), print_explanation)

    def require_answerable(self) -> None:
        """Raise the error that the next question would meet before it is sent."""
        self._explained(self._fields)

    def take_model(self, name: str) -> None:
        """Go on with another model."""
        self._change({"model": name})

    def take_server(self, name: str | None) -> None:
        """Go on with one server, or with None as the model's servers are chosen."""
        changed = {"server": name, "server_url": None, "capability": None, "labels": ()}
        self._change(changed | dict.fromkeys(_CREDENTIALS))

    def set(self, key: str, value: str | None) -> None:
        """Set the system text, the thinking or a model option; None takes it back."""
        if key == "system":
            self._fields["system"] = value
        elif key == "think":
            self._fields["think"] = _thinking(value)
        else:
            self._set_option(key, value)

    def settings(self) -> list[tuple[str, str]]:
        """What is set, by name."""
        names = ("model", "server", "server_url", "capability", "system", "think")
        shown = [
            (name, str(self._fields[name])) for name in names if self._fields[name] is not None
        ]
        shown += [("label", label) for label in self._fields["labels"]]
        return shown + [(key, str(value)) for key, value in self._fields["options"].items()]

    def forget(self) -> None:
        """Begin anew, with the same settings."""
        self._said.clear()

    def _set_option(self, key: str, value: str | None) -> None:
        options = dict(self._fields["options"])
        options.pop(key, None)
        if value is not None:
            given = model_options([f"{key}={value}"])
            check_option(key, given[key])
            options |= given
        self._fields["options"] = options

    def _change(self, changed: dict[str, Any]) -> None:
        fields = self._fields | changed
        self._explained(fields)
        self._fields = fields

    def _explained(self, fields: Mapping[str, Any]) -> "Explanation":
        request = self._request(fields, {"role": "user", "content": "?"})
        return self._shell.run(lambda client: client.route(request, self._affinity))

    def _request(self, fields: Mapping[str, Any], question: Message) -> GenerateRequest:
        """The request for an answer to the question, behind all that was said."""
        given = dict(fields)
        messages = list(self._said)
        system = given.pop("system")
        if system:
            messages.insert(0, {"role": "system", "content": system})
        messages.append(question)
        return GenerateRequest(messages=messages, **given)

    async def _answer(
        self, client: "Client", request: GenerateRequest, printer: AnswerPrinter
    ) -> Reply:
        pipe = pipe_of(printer.stdout)
        with read_by_somebody(pipe):
            async with client.ask(request, affinity=self._affinity) as stream:
                try:
                    async for piece in stream:
                        await wait_for_room(pipe)
                        printer.piece(piece)
                finally:
                    printer.flush()
                self._end(printer, stream.reply)
                return stream.reply

    def _end(self, printer: AnswerPrinter, reply: Reply) -> None:
        if self._output.json:
            self._output.record(reply)
            return
        printer.end(reply)
        if not self._output.stdout.isatty() and not reply.response.endswith("\n"):
            self._output.line("")
            self._output.stdout.flush()


def _thinking(word: str | None) -> bool | str | None:
    if word is None:
        return None
    if word not in _THINKING:
        raise InvalidInput(f"think cannot be {word!a}", f"choose from: {', '.join(_THINKING)}")
    return _THINKING[word]
