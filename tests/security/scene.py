"""What the canary tests share: secrets to be found again in any form, and a server that repeats
what it is sent.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote, urlsplit

from ollama_admin.ollama.faults import ERROR_TEXT_LIMIT
from ollama_admin.simulator.http import Connection, RecordedRequest, Reply, encode_json
from ollama_admin.simulator.model import SimulatedModel
from tests.fake_ollama import FakeOllama

CORE = "K4n4ryZq7xW2vB"
MODEL = "alpha"
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "x-first", "x-second")


def canary(way: str) -> str:
    """A secret that says how it came in. Around its core stand characters that each encoding
    changes.
    """
    return f'p"\\{CORE}-{way}/+&%=é?'


def base64_needles(text: str) -> list[str]:
    """What base64 makes of the text inside anything longer: three alignments, without the edges."""
    found = []
    for offset, skipped in ((0, 0), (1, 2), (2, 3)):
        whole = (offset + len(text)) // 3 * 4
        encoded = base64.b64encode(b"\0" * offset + text.encode()).decode()[skipped:whole]
        found += [encoded, encoded.translate(str.maketrans("+/", "-_"))]
    return found


# The core is letters and digits, which URL encoding and JSON escapes leave as they are: it is in
# those forms, too.
NEEDLES = (
    CORE.casefold(),
    CORE.encode().hex(),
    *(needle.casefold() for needle in base64_needles(CORE)),
)


def leaks(haystack: str | bytes, keys: Iterable[str] = ()) -> list[str]:
    """Which forms of a canary, or which keys, are in the text; letter case does not hide one."""
    text = haystack.decode("utf-8", "replace") if isinstance(haystack, bytes) else haystack
    folded = text.casefold()
    return [needle for needle in NEEDLES if needle in folded] + [key for key in keys if key in text]


class Mirror(FakeOllama):
    """A server under any prefix, and a proxy. The prefix says what it does with the credentials
    that reach it:

    `/ok...` answers as Ollama; `/deny-FORM-STATUS...` refuses and repeats them in that form;
    `/redirect...` sends the client to a place named after them; `/break...` repeats them in the
    middle of an answer.
    """

    def __init__(self) -> None:
        super().__init__(SimulatedModel(MODEL))
        self.heard: list[str] = []

    async def answer(self, connection: Connection, request: RecordedRequest) -> None:
        _, prefix, path = urlsplit(request.path).path.split("/", 2)
        local = replace(request, path=f"/{path}")
        told = credentials_in(request)
        self.heard += [*told, *_secrets(request, ("proxy-authorization",))]
        what, *how = prefix.split("-")
        if what == "deny":
            whole = [value for name in CREDENTIAL_HEADERS if (value := request.headers.get(name))]
            await connection.write(
                _refusal(whole if how[0] == "header" else told, how[0], int(how[1])).encode()
            )
        elif what == "redirect":
            location = f"http://elsewhere.example/{quote(''.join(told), safe='')}"
            await connection.write(Reply(status=307, headers={"Location": location}).encode())
        elif what == "break" and path == "api/generate":
            piece = {"model": f"{MODEL}:latest", "response": "one", "done": False}
            lines = (piece, {"error": "it said " + " ".join(told)})
            await connection.write(Reply(body=b"\n".join(map(encode_json, lines))).encode())
        else:
            await self.simulate(connection, local)


def credentials_in(request: RecordedRequest) -> list[str]:
    """The secrets of a request for a server, without what is put around them."""
    return _secrets(request, CREDENTIAL_HEADERS)


def _secrets(request: RecordedRequest, headers: Iterable[str]) -> list[str]:
    found = []
    for name in headers:
        scheme, _, value = request.headers.get(name, "").rpartition(" ")
        found += (
            [base64.b64decode(value).decode().partition(":")[2]] if scheme == "Basic" else [value]
        )
    return [value for value in found if value]


def _refusal(told: list[str], form: str, status: int) -> Reply:
    shapes = {
        "raw": lambda text: text,
        "base64": lambda text: base64.b64encode(text.encode()).decode(),
        "header": lambda text: text,
        "url": lambda text: quote(text, safe=""),
        "path": quote,
        "json": json.dumps,
        "cut": lambda text: "x" * (ERROR_TEXT_LIMIT - text.index(CORE) - len(CORE)) + text,
    }
    text = " ".join(shapes[form](value) for value in told)
    echo = {"WWW-Authenticate": f'Bearer realm="{text}"', "X-Echo": text}
    return Reply(status=status, body=encode_json({"error": text}), headers=echo)
