"""Two ways lead to a server, that of httpx and that of sockets of our own, both behind `ollama/`;
no other part of the package could reach one.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import ollama_admin
from ollama_admin.ollama import http
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.http import HTTP

PACKAGE = Path(ollama_admin.__file__).parent
FACTORY = "ollama/http.py"
DIALER = "ollama/raw_dialing.py"
Trees = Mapping[str, ast.AST]
CLIENT_NAMES = {
    *("Client", "AsyncClient", "HTTPTransport", "AsyncHTTPTransport", "Proxy"),
    *("request", "stream", "get", "post", "put", "patch", "delete", "head", "options"),
}
OTHER_WAYS = {
    *(
        "requests",
        "urllib3",
        "aiohttp",
        "httpcore",
        "http.client",
        "urllib.request",
        "ftplib",
        "smtplib",
        "telnetlib",
    ),
    *("pycurl", "websockets", "xmlrpc.client"),
}
SOCKETS = {
    "connect",
    "connect_ex",
    "create_connection",
    "open_connection",
    "socket",
    "socketpair",
    "sock_connect",
}
# they listen, and never connect
SERVING = {
    "api/serving.py",
    "api/connections.py",
    "api/tls.py",
    "services/neighbours.py",  # on this host alone
    "simulator/socket.py",
    "simulator/http.py",
}
WRITING = {"print", "debug", "info", "warning", "error", "exception"}
REVEALING = {  # and what reads the files of others
    "domain/secret.py",
    "vault.py",
    "ollama/http.py",
    "ollama/raw_http.py",
    "ollama/endpoint.py",
    "ollama/faults.py",
    "services/import_env.py",
    "services/upstream_auth.py",
    "services/remote_activity.py",  # makes a bearer token of it, which is a secret again
    "settings.py",  # of a proxy's URL the host alone
    "cli/secrets.py",
    "cli/views/keys.py",  # shows a new key, once
    "web/keys.py",  # so does this
    "domain/keys.py",  # of a new key
    "api/guard.py",  # compares its own token
    "api/serving.py",  # shows the one it made, once
    "gateway/access.py",  # compares its own token
}
HEADER_WORDS = {"headers", "Authorization", "auth_config", "reveal"}


@pytest.fixture(scope="module")
def trees() -> Trees:
    """What each module of the package says: 80 MB, and so no longer there than needed."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
        for path in PACKAGE.rglob("*.py")
    }


def imported(tree: ast.AST) -> set[str]:
    """The modules that are imported anywhere in a file."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def attributes_of(tree: ast.AST) -> dict[str, set[str]]:
    """What is taken from each name, such as that of a module that is imported whole."""
    attributes: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            attributes[node.value.id].add(node.attr)
    return attributes


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_the_package_is_looked_at_whole(trees: Trees) -> None:
    assert FACTORY in trees
    assert len(trees) > 50


def test_no_other_module_makes_a_client_or_a_request(trees: Trees) -> None:
    for name in sorted(trees.keys() - {FACTORY}):
        tree = trees[name]
        modules, attributes = imported(tree), attributes_of(tree)
        assert attributes["httpx"] & CLIENT_NAMES == set(), name
        assert {module for module in modules if module.startswith("httpx.")} == set(), name
        assert modules & OTHER_WAYS == set(), name
        if name not in SERVING and name != DIALER:
            assert attributes["socket"] & SOCKETS == set(), name
            assert attributes["asyncio"] & SOCKETS == set(), name


def test_one_function_connects_sockets_and_one_looks_at_their_addresses(trees: Trees) -> None:
    tree = trees[DIALER]
    attributes = attributes_of(tree)
    assert attributes["socket"] & SOCKETS == {"socket"}
    assert attributes["asyncio"] & SOCKETS == set()
    functions = {
        function.name: ast.unparse(function)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    connecting = {name for name, text in functions.items() if "socket.socket(" in text}
    assert connecting == {"_connect"}
    callers = {name for name, text in functions.items() if "_first_connected(" in text}
    assert callers == {"_plain_connection", "_first_connected"}
    assert "refuse_address(connected.getpeername()[0])" in functions["_plain_connection"]


def test_only_the_fast_way_makes_connections_of_its_own(trees: Trees) -> None:
    assert {
        name for name, tree in trees.items() if "ollama_admin.ollama.raw_dialing" in imported(tree)
    } == {"ollama/raw_http.py"}


def test_httpx_is_imported_only_where_it_sends(trees: Trees) -> None:
    assert {name for name, tree in trees.items() if "httpx" in imported(tree)} == {FACTORY}


def test_the_parser_of_chunks_is_known_to_one_module_here(trees: Trees) -> None:
    using = {name for name, tree in trees.items() if "httptools" in imported(tree)}
    assert {name for name in using if not name.startswith("api/")} == {"ollama/raw_framing.py"}


def test_what_a_request_gives_back_has_nothing_of_httpx(trees: Trees) -> None:
    """So that another transport can stand behind `Response` without a change above it."""
    modules = imported(trees["ollama/response.py"])
    assert {module for module in modules if module.startswith("http")} == set()
    assert {module for module in modules if "ollama_admin" in module} == {
        "ollama_admin.domain",
        "ollama_admin.domain.strict_json",
        "ollama_admin.errors",
        "ollama_admin.errors.UpstreamError",
    }
    (send,) = (
        node
        for node in ast.walk(trees[FACTORY])
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "send"
    )
    assert "httpx" not in ast.unparse(send.args)
    assert send.returns is not None
    assert ast.unparse(send.returns) == "AsyncIterator[Response]"


def test_the_factory_makes_one_kind_of_transport_with_every_safeguard(trees: Trees) -> None:
    """A transport follows no redirect, keeps no cookie and knows no `.netrc`: a client would have
    to be told.
    """
    made = [
        call
        for call in calls(trees[FACTORY])
        if ast.unparse(call.func).removeprefix("httpx.") in CLIENT_NAMES
    ]
    by_name = {ast.unparse(call.func): call for call in made}
    assert by_name.keys() == {"httpx.Proxy", "httpx.AsyncHTTPTransport"}
    call = by_name["httpx.AsyncHTTPTransport"]
    told = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert told["trust_env"] == "False"
    assert {"limits", "verify", "proxy"} <= told.keys()


def test_every_request_asks_for_no_compression_and_has_its_times(trees: Trees) -> None:
    (call,) = (call for call in calls(trees[FACTORY]) if ast.unparse(call.func) == "httpx.Request")
    told = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert (told["extensions"], told["headers"]) == ("extensions", "all_headers")
    written = (PACKAGE / FACTORY).read_text()
    assert "self._extensions(silence, any_address=any_address, sending=sending)" in written
    assert "all_headers = _with_defaults(headers)" in written
    assert (b"Accept-Encoding", b"identity") in http._HEADERS
    for given in ([], [(b"accept-ENCODING", b"gzip")], [(b"Accept", b"text/html")]):
        sent = http._with_defaults(given)
        encodings = [value for name, value in sent if name.lower() == b"accept-encoding"]
        assert encodings == [b"identity"]


def test_a_header_that_is_given_stands_alone() -> None:
    given = [(b"user-agent", b"openai/1.0"), (b"X-A", b"1"), (b"x-a", b"2")]
    accept = [(b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]
    assert http._with_defaults(given) == accept + given


def test_the_usual_times_of_a_request_are_those_of_the_connection() -> None:
    assert HTTP(Times())._extensions(None, any_address=True)["timeout"] == {
        "connect": 5.0,
        "pool": 5.0,
        "read": 600.0,
        "write": 600.0,
    }


@pytest.mark.parametrize("any_address", [True, False])
def test_a_request_with_its_own_silence_keeps_every_other_safeguard(any_address: bool) -> None:
    http = HTTP(Times())
    usual = http._extensions(None, any_address=any_address)
    own = http._extensions(7.0, any_address=any_address)
    assert own["timeout"] == {"connect": 5.0, "pool": 5.0, "read": 7.0, "write": 7.0}
    assert type(own.get("trace")) is type(usual.get("trace"))
    assert ("trace" in own) is not any_address


def test_no_module_logs_or_prints_headers(trees: Trees) -> None:
    for name, tree in trees.items():
        for call in calls(tree):
            if ast.unparse(call.func).rpartition(".")[2] in WRITING:
                words = {ast.unparse(node) for argument in call.args for node in ast.walk(argument)}
                mentioned = {word.rpartition(".")[2].strip("'\"") for word in words}
                assert mentioned & HEADER_WORDS == set(), f"{name}, line {call.lineno}"


def test_only_what_sends_or_seals_a_secret_reveals_it(trees: Trees) -> None:
    revealing = {
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "reveal"
    }
    assert {name for name in revealing - REVEALING if not name.startswith("legacy/")} == set()
