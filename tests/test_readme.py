"""The documentation is checked against the code: tables, command lines, examples and names of
files.
"""

import ast
import asyncio
import functools
import importlib
import json
import os
import pkgutil
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

import ollama_admin
from ollama_admin.domain.answers import Reply, Stats
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.errors import AdminError, ModelNotFound
from ollama_admin.legacy import layouts
from ollama_admin.settings import SETTINGS
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from ollama_admin.simulator.server import SimulatedServer
from tests.cli.running import command_tree
from tests.fake_ollama import FakeOllama

ROOT = Path(__file__).parent.parent
ENGLISH, RUSSIAN = ROOT / "README.md", ROOT / "README.ru.md"
DOCS = ROOT / "docs"
TRANSLATED = sorted((DOCS / "ru").glob("*.md"))
PAIRS = [(ENGLISH, RUSSIAN)] + [(DOCS / path.name, path) for path in TRANSLATED]
REFERENCES = [DOCS / "commands.md", DOCS / "ru" / "commands.md"]
PYTHON = DOCS / "python.md"
LAYOUTS = DOCS / "layouts.md"
ENGLISH_PAGES = [ENGLISH] + sorted(DOCS.glob("*.md"))
DOCUMENTS = [ENGLISH, RUSSIAN, ROOT / "CHANGELOG.md"] + sorted(DOCS.glob("*.md")) + TRANSLATED
OUTPUT, OUTPUT_WITH_CSV = "-o, --output <table|json>", "-o, --output <table|json|csv>"
EVERYWHERE = {OUTPUT, "-h, --help"}  # said once, not in every row
WITHOUT_OUTPUT = {"demo"}
WITH_CSV = {"usage"}
FIVE_MINUTES = "Five minutes with your own servers"
HEADING_OR_BLOCK = re.compile(r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL_OPERATORS = set("|&;<>()")
MODEL = "llama3.2:3b"
UNDECIDED_EXITS = {0, 1}  # no constant of ours: fine, and a bug


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


THIS = "tests/test_readme.py"
ON_PAGES = "tests/system/test_documentation.py"
CLIENTS = "tests/gateway/clients/test_documented_clients.py"
NODE = "tests/system/test_node_clients.py"
EXAMPLE = "test_a_python_block_prints_what_the_model_says"
RUNNABLE = ("sh", "python", "js")
# pages, and under which heading blocks stand that a test types as they are
RUN = {
    "README.md": {
        "Five minutes with your own servers": f"{THIS}:test_five_minutes_work_word_for_word"
    },
    "docs/start.md": {"More ways to ask": f"{THIS}:test_five_minutes_work_word_for_word"},
    "docs/promise.md": {"Pins": f"{ON_PAGES}:test_pins"},
    "docs/fleet.md": {
        "Groups": f"{ON_PAGES}:test_groups_and_differences",
        "Models on many servers": f"{THIS}:test_models_are_pulled_copied_and_removed_word_for_word",
        "What is going on": f"{ON_PAGES}:test_groups_and_differences",
        "Differences": f"{ON_PAGES}:test_groups_and_differences",
        "The fleet as a file": f"{ON_PAGES}:test_the_fleet_as_a_file",
    },
    "docs/keys.md": {
        "Keys": f"{ON_PAGES}:test_keys_audit_and_receipts",
        "Audit": f"{ON_PAGES}:test_keys_audit_and_receipts",
        "Receipts": f"{ON_PAGES}:test_keys_audit_and_receipts",
    },
    "docs/secrets.md": {
        "Secrets": f"{THIS}:test_secrets_are_stored_and_their_key_is_changed_word_for_word",
        "Certificates and proxies of a server": f"{ON_PAGES}:test_certificates_of_a_server",
    },
    "docs/database.md": {
        "PostgreSQL": f"{ON_PAGES}:test_a_database_is_made_and_copied",
        "Copies and backups": f"{ON_PAGES}:test_a_database_is_made_and_copied",
    },
    "docs/python.md": {"From Python": f"{THIS}:test_python_example_runs"},
    "docs/serve.md": {"One URL for programs": f"{ON_PAGES}:test_serve_is_one_url"},
    "docs/as-code.md": {
        "The fleet as a file": f"{ON_PAGES}:test_the_fleet_as_a_file",
        "Over HTTP and from Python": f"{ON_PAGES}:test_the_fleet_as_a_file",
    },
    "docs/metrics.md": {"Scrape": f"{ON_PAGES}:test_keys_audit_and_receipts"},
    "docs/run-it.md": {
        "From an empty machine": "tests/system/test_empty_machine.py:test_an_empty_machine_serves"
    },
    "docs/clients.md": dict.fromkeys(
        ("ollama for Python", "openai", "anthropic", "LangChain", "LlamaIndex"),
        f"{CLIENTS}:{EXAMPLE}",
    )
    | {"llm": "tests/gateway/clients/test_llm.py:test_the_documented_block_is_answered"}
    | {"ollama for JavaScript": f"{NODE}:test_the_documented_block_prints_what_the_model_says"},
}
# and those whose every block a test types
WHOLE = {"docs/api.md": "tests/api/test_documentation.py:test_every_command_runs_word_for_word"}
OTHERS = "a program of others that pip does not bring; what it sends is tested"
# and those that no test types, with the reason
NOT_RUN = {
    "README.md": {
        "Try it": "make test would run itself; tests/cli/test_demo.py runs the demo",
        "Development": "takes hours, and some of it changes the checkout",
    },
    "docs/start.md": {
        "Other ways to install": "installs 170 MB; tests.installed runs a wheel in CI"
    },
    "docs/run-it.md": {
        "Several processes, several machines": "there is no host db-1; make chaos fails over",
        "Containers": "needs Docker and an image of 120 MB",
        "Kubernetes": "needs a cluster",
    },
    "docs/clients.md": dict.fromkeys(
        ("Ollama's command", "Claude Code", "Open WebUI", "aider"), OTHERS
    ),
}


SHOWN = sorted({name_of(path) for path in ENGLISH_PAGES} - WHOLE.keys())
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
every_translated = pytest.mark.parametrize(
    "path", [path for pair in PAIRS for path in pair], ids=name_of
)
both_references = pytest.mark.parametrize("path", REFERENCES, ids=name_of)
each_translation = pytest.mark.parametrize(("english", "russian"), PAIRS, ids=name_of)


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A Markdown file, taken apart. `prose` is what stands outside code blocks."""

    prose: str
    blocks: tuple[Block, ...]

    @property
    def headings(self) -> list[str]:
        return re.findall(r"^#+ .+$", self.prose, re.MULTILINE)

    @property
    def spans(self) -> list[str]:
        """Inline code; one that goes over a line end is joined."""
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    @property
    def tables(self) -> list[list[list[str]]]:
        """Tables as rows of cells, without the header and the rule below it."""
        found = re.findall(r"(?:^\|.*\n)+", self.prose, re.MULTILINE)
        return [[_cells(line) for line in table.splitlines()[2:]] for table in found]

    def table(self, first: str) -> dict[str, list[str]]:
        """The table whose first column holds `first`: that column without backticks, and the other
        cells.
        """
        tables = ({row[0].strip("`"): row[1:] for row in table} for table in self.tables)
        return next(table for table in tables if first in table)

    def block(self, language: str) -> str:
        return next(block.text for block in self.blocks if block.language == language)


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [cell.strip().replace("\\|", "|") for cell in cells]


@functools.cache
def read(path: Path) -> Document:
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(r"^```(\w*)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
    return Document(
        pattern.sub("\n", text), tuple(Block(*match.groups()) for match in pattern.finditer(text))
    )


def code_spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def commands() -> dict[str, Any]:
    """Every command that does something, by its words; the root's are none."""
    return dict(_below(command_tree(), ""))


def _below(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if not inner or not words:
        yield words, command
    for name, child in inner.items():
        yield from _below(child, f"{words} {name}".strip())


def options_of(command: Any) -> set[str]:
    """Options as the help prints them, with what they take."""
    root = command_tree().make_context("ollama-admin", [], resilient_parsing=True)
    # inherits the help option
    context = command.make_context(command.name, [], parent=root, resilient_parsing=True)
    params = [param for param in command.get_params(context) if param.param_type_name == "option"]
    return {" ".join(param.get_help_record(context)[0].split()) for param in params}


def arguments_of(command: Any) -> list[str]:
    return [
        param.metavar.strip("[].{}")
        for param in command.params
        if param.param_type_name == "argument"
    ]


def documented_commands(path: Path) -> dict[str, list[str]]:
    """Rows of the command table, by what stands in their first column; the root's row has no
    words.
    """
    table = read(path).table("migrate")
    return {"" if usage == "ollama-admin" else usage: cells for usage, cells in table.items()}


@both_references
def test_command_table_has_every_command_with_its_arguments(path: Path) -> None:
    expected = {name: arguments_of(command) for name, command in commands().items()}
    found = {}
    for usage in documented_commands(path):
        words = [word for word in usage.split() if word.islower()]
        found[" ".join(words)] = [word.strip("[].") for word in usage.split() if not word.islower()]
    assert found == expected


@both_references
def test_command_table_has_every_option(path: Path) -> None:
    rows = {
        " ".join(w for w in usage.split() if w.islower()): row
        for usage, row in documented_commands(path).items()
    }
    for name, command in commands().items():
        own = options_of(command) - EVERYWHERE - {OUTPUT_WITH_CSV}
        assert set(code_spans(rows[name][0])) == own, name or "ollama-admin"


def test_every_command_takes_help_and_all_but_the_named_ones_output() -> None:
    for name, command in commands().items():
        missing = EVERYWHERE - options_of(command)
        assert missing == ({OUTPUT} if name in WITHOUT_OUTPUT | WITH_CSV else set()), name
        assert (OUTPUT_WITH_CSV in options_of(command)) == (name in WITH_CSV), name


def test_options_said_to_repeat_are_those_that_do() -> None:
    repeating = {
        (name, param.opts[-1])
        for name, command in commands().items()
        for param in command.params
        if getattr(param, "multiple", False)
    }
    assert repeating == {
        *(("generate", option) for option in ("--image", "--option", "--label")),
        *product(("chat", "embed"), ("--option", "--label")),
        *product(("sync",), ("--to", "--label")),
        *product(("serve",), ("--allow-host", "--allow-origin", "--forwarded-allow-ips")),
        *(("server update", option) for option in ("--clear", "--capability")),
        ("server add", "--capability"),
        *product(("server add", "server update", "server list"), ("--label",)),
        *product(("server check", "discover", "models"), ("--label",)),
        ("server update", "--remove-label"),
        *product(("pull", "rm", "cp", "load", "unload"), ("--on", "--label")),
        ("ps", "--label"),
        *product(("key add", "key update"), ("--can", "--model", "--server", "--network")),
        ("key update", "--clear"),
        *product(
            ("generate", "chat", "embed", "server add", "server update"),
            ("--header", "--header-ref"),
        ),
    }


def command_lines(path: Path) -> list[str]:
    """Every `ollama-admin ...` that a reader could type: in blocks and inline."""
    texts = list(read(path).spans)
    for block in read(path).blocks:
        lines = block.text.replace("\\\n", " ").splitlines()
        texts += [
            line.removeprefix("$ ")
            for line in lines
            if block.language != "text" or line.startswith("$ ")
        ]
    return [
        text
        for text in texts
        if re.search(r"(?:^|[\s/])ollama-admin \S", text) and "ollama-admin COMMAND" not in text
    ]


def words_of(line: str) -> list[str]:
    """What the shell hands to `ollama-admin`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    start = next(index for index, word in enumerate(words) if Path(word).name == "ollama-admin")
    ends = (
        index for index, word in enumerate(words) if index > start and set(word) <= SHELL_OPERATORS
    )
    return words[start + 1 : next(ends, len(words))]


def parse(words: list[str]) -> None:
    """Read the words as the program would, down to the last command, and run nothing."""
    command = command_tree()
    context = command.make_context("ollama-admin", words)
    while getattr(command, "commands", {}):
        _, command, words = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert command is not None
        context = command.make_context(command.name, words, parent=context)


@every_document
def test_every_command_line_parses(path: Path) -> None:
    for line in command_lines(path):
        words = words_of(line)
        if "..." in words or "--help" in words:
            continue
        try:
            parse(words)
        except Exception as exc:
            raise AssertionError(f"{path.name}: {line}: {exc}") from exc


def test_the_check_of_command_lines_finds_mistakes() -> None:
    assert sum(len(command_lines(path)) for path in DOCUMENTS) > 200
    for wrong in ("server ad x y", "generate --modell m hi", "migrate --wait soon", "server add x"):
        with pytest.raises(Exception, match=r".+"):
            parse(words_of(f"echo hi | ollama-admin {wrong} < /dev/null"))


@every_translated
def test_inline_options_exist(path: Path) -> None:
    known = {
        option
        for command in commands().values()
        for param in command.params
        for option in options_named(param)
    }
    # options of Docker and pip, and the end of a model's name
    known |= {"-h", "--help", "--add-host", "-cloud", "--no-deps"}
    missing = {
        option
        for span in read(path).spans
        for option in re.findall(r"(?:^|\s)(--?[a-z][a-z-]*)", span)
        if option not in known
    }
    assert missing == set()


def options_named(param: Any) -> list[str]:
    return [*param.opts, *param.secondary_opts] if param.param_type_name == "option" else []


@pytest.mark.parametrize("page", SHOWN)
def test_every_block_is_run_by_a_test_or_named_with_the_reason(page: str) -> None:
    shown = {heading for language in RUNNABLE for heading in sections_of(page, language)}
    run, not_run = RUN.get(page, {}), NOT_RUN.get(page, {})
    assert shown == run.keys() | not_run.keys()
    assert not run.keys() & not_run.keys()
    for test in run.values():
        file, _, name = test.partition(":")
        assert name in defined(ROOT / file), test


def test_what_is_not_run_names_files_services_and_variables_that_there_are() -> None:
    text = "".join(block for page in NOT_RUN for block in all_blocks(page))
    for path in re.findall(r"\bdeploy/[\w./-]+", text):
        assert (ROOT / path).is_file(), path
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    for service, words in re.findall(r"docker compose .* run --rm (\w+) (.+)", text):
        assert service in services
        parse(shlex.split(words))
    literals = set(re.findall(r"--from-literal=(\w+)=", text))
    assert literals <= {setting.variable for setting in SETTINGS}
    assert "OLLAMA_ADMIN_SECRET_KEY" in literals


def all_blocks(page: str) -> list[str]:
    return [block for blocks in sections_of(page).values() for block in blocks]


@both_references
def test_settings_table_names_what_settings_read(path: Path) -> None:
    variables = [setting.variable for setting in SETTINGS]
    assert list(read(path).table("OLLAMA_ADMIN_DATABASE_URL")) == variables


def test_settings_table_says_what_the_code_says() -> None:
    cells = {setting.variable: [setting.default, setting.meaning] for setting in SETTINGS}
    assert read(REFERENCES[0]).table("OLLAMA_ADMIN_DATABASE_URL") == cells


def test_every_variable_that_the_code_names_is_in_the_table_of_settings() -> None:
    source = (ROOT / "ollama_admin" / "settings.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"(OLLAMA_ADMIN_\w+)"', source))
    assert named == {setting.variable for setting in SETTINGS}


def package_modules() -> list[str]:
    found = pkgutil.walk_packages(ollama_admin.__path__, "ollama_admin.")
    return sorted(
        module.name
        for module in found
        if module.name != "ollama_admin.__main__" and is_ours(module.name)
    )


def is_ours(name: str) -> bool:
    """Whether it is a module of the package, and not a script of migrations that an installed wheel
    carries.
    """
    return ".migrations" not in name or name.endswith(".store.migrations")


def source_of(module: str) -> ast.Module:
    path = importlib.import_module(module).__file__
    assert path is not None
    return ast.parse(Path(path).read_text(encoding="utf-8"))


@functools.cache
def raised_errors() -> dict[str, int]:
    """Exit codes by error code: of all classes but those that only gather others, and of the errors
    without a class.
    """
    trees = [source_of(name) for name in package_modules()]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
    classes = [
        kind for kind in below(AdminError) if not kind.__subclasses__() or kind.__name__ in called
    ]
    codes = {kind.code: kind.exit_code for kind in classes}
    for node in calls:
        if (
            isinstance(node.func, ast.Attribute)
            and node.func.attr == "problem"
            and isinstance(node.args[0], ast.Constant)
        ):
            codes.setdefault(
                str(node.args[0].value), {"output_failed": 1}.get(str(node.args[0].value), 2)
            )
    return codes


def below(kind: type[AdminError]) -> Iterator[type[AdminError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("ollama_admin."):
            yield child
            yield from below(child)


def exit_constants() -> set[int]:
    """The exit codes that command files name themselves."""
    found = set()
    for name in package_modules():
        if name.startswith("ollama_admin.cli."):
            module = importlib.import_module(name)
            names = ("USAGE", "INTERRUPTED", "PIPE_CLOSED", "TERMINATED", "PARTLY")
            found |= {getattr(module, constant) for constant in names if hasattr(module, constant)}
    return found


@both_references
def test_error_table_has_every_code_with_its_exit_code(path: Path) -> None:
    rows = read(path).table("invalid_input")
    assert {code: int(cells[0]) for code, cells in rows.items()} == raised_errors()


@both_references
def test_exit_code_table_has_every_exit_code(path: Path) -> None:
    documented = {int(code) for code in read(path).table("130")}
    assert documented == UNDECIDED_EXITS | set(raised_errors().values()) | exit_constants()


@both_references
def test_json_example_of_an_error_has_its_shape(path: Path) -> None:
    shown = json.loads(read(path).block("json"))["error"]
    assert list(shown) == list(ModelNotFound("").document())
    assert shown["code"] == ModelNotFound.code


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(path).prose):
        if "://" in target:
            continue
        file, _, fragment = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        if fragment:
            assert fragment in {anchor(heading) for heading in read(linked).headings}, target


def anchor(heading: str) -> str:
    """The fragment that GitHub and GitLab give a heading."""
    return re.sub(r"[^\w -]", "", heading.lstrip("# ").lower()).replace(" ", "-")


@every_document
def test_files_and_functions_that_are_named_exist(path: Path) -> None:
    prose = " ".join(read(path).prose.split())
    pattern = (
        r"`((?:ollama_admin|tests|migrations)/[\w./-]*)`((?:(?::| or | или) `[A-Za-z_][\w.]*`)*)"
    )
    for file, names in re.findall(pattern, prose):
        assert (ROOT / file).exists(), file
        for name in code_spans(names):
            assert name in defined(ROOT / file), f"{file}: {name}"


def defined(file: Path) -> set[str]:
    """Functions, classes and methods of a module."""
    found = set()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, kinds):
            found.add(node.name)
            found |= {
                f"{node.name}.{inner.name}"
                for inner in getattr(node, "body", [])
                if isinstance(inner, kinds)
            }
    return found


def test_make_targets_that_are_named_exist() -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for path in DOCUMENTS:
        texts = [
            *read(path).spans,
            *(line for block in read(path).blocks for line in block.text.splitlines()),
        ]
        named = {match[1] for text in texts if (match := re.match(r"make ([a-z-]+)", text))}
        assert named <= targets, path.name


@each_translation
def test_a_translation_has_the_same_headings(english: Path, russian: Path) -> None:
    levels = [
        [heading.split()[0] for heading in read(path).headings] for path in (english, russian)
    ]
    assert levels[0] == levels[1]


@each_translation
def test_a_translation_has_the_same_code_blocks(english: Path, russian: Path) -> None:
    blocks = [
        [(block.language, without_comments(block)) for block in read(path).blocks]
        for path in (english, russian)
    ]
    assert blocks[0] == blocks[1]


def without_comments(block: Block) -> str:
    return (
        re.sub(r"(?m)(^|\s+)# .*$", "", block.text)
        if block.language in ("sh", "yaml", "python")
        else block.text
    )


@each_translation
def test_a_translation_has_the_same_tables(english: Path, russian: Path) -> None:
    """Their first columns: the others are text."""
    tables = [
        [[first_column(row) for row in table] for table in read(path).tables]
        for path in (english, russian)
    ]
    assert tables[0] == tables[1]


def first_column(row: list[str]) -> str:
    """What stands there; of a link the page that it leads to."""
    link = re.match(r"\[[^]]*\]\(([^)]+)\)", row[0])
    if link is None:
        return row[0]
    return Path(link[1]).name


@each_translation
def test_translations_link_to_each_other_at_the_top(english: Path, russian: Path) -> None:
    for path, other in ((english, russian), (russian, english)):
        links = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")[:200])
        assert other in [(path.parent / link).resolve() for link in links]


@each_translation
def test_a_translation_shows_the_same_commands_and_names(english: Path, russian: Path) -> None:
    assert {span for span in read(english).spans if span.isascii()} == {
        span for span in read(russian).spans if span.isascii()
    }


def test_layout_table_has_every_role_and_word() -> None:
    documented = {
        layouts.Role(role): (set(code_spans(one)), set(code_spans(several)))
        for role, (one, several) in read(LAYOUTS).table("url").items()
    }
    for role in layouts.Role:
        one = set(layouts.ROLE_WORDS[role])
        several = set(layouts.LIST_WORDS.get(role, []))
        assert documented[role] == (one, several), role


async def test_every_layout_shown_is_imported_without_a_rest(tmp_path: Path) -> None:
    blocks = [block.text for block in read(LAYOUTS).blocks if block.language == "ini"]
    for number, text in enumerate(blocks):
        file = tmp_path / f"{number}.env"
        file.write_text(text, encoding="utf-8")
        async with ollama_admin.Client(
            database_url=f"sqlite:///{tmp_path / f'{number}.db'}", environ={}
        ) as client:
            found = await client.import_env([file])
        assert found.counts.imported == found.counts.seen, text
        assert {entry.state.value for entry in found.entries} <= {"new", "unchanged"}, text


async def test_variables_said_to_be_left_out_are_left_out(tmp_path: Path) -> None:
    rows = read(LAYOUTS).tables[-1]
    spans = [span for cell, _ in rows for span in code_spans(cell)]
    names = [span for span in spans if span not in ("EMPTY", "sk-...")]
    for number, text in enumerate(names):
        file = tmp_path / f"{number}.env"
        file.write_text(text if "=" in text else f"{text}=x\n", encoding="utf-8")
        async with ollama_admin.Client(
            database_url=f"sqlite:///{tmp_path / 'x.db'}", environ={}
        ) as client:
            found = await client.import_env([file], dry_run=True)
        assert {entry.state.value for entry in found.entries} == {"ignored"}, text


def test_python_example_uses_names_that_exist() -> None:
    tree = ast.parse(read(PYTHON).block("python"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
    attributes = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    reply = {
        name.removeprefix("reply.").split(".")[0]
        for name in attributes
        if name.startswith("reply.")
    }
    assert reply <= {field.name for field in fields(Reply)}
    stats = {
        name.removeprefix("reply.stats.") for name in attributes if name.startswith("reply.stats.")
    }
    assert stats <= {field.name for field in fields(Stats)}
    asked = {
        keyword.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("client.generate", "client.stream")
        for keyword in node.keywords
    }
    assert asked <= {field.name for field in fields(GenerateRequest)}


async def test_python_example_runs(tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(read(PYTHON).block("python"), encoding="utf-8")
    async with SimulatedServer(SimulatedModel(MODEL, says="Rayleigh scattering")) as server:
        script = f'ollama-admin server add first {server.url}\npython ask.py "$MODEL"\n'
        code, out = await run_script(f"MODEL={MODEL}\n{script}", tmp_path, {})
    assert code == 0, out
    assert f"{MODEL} on first" in out
    assert f"{server.url} digest" in out
    assert "Rayleigh scatteringstop" in out
    assert "model_not_found 3" in out


@pytest.mark.timeout(180)  # a dozen commands, one after the other
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_five_minutes_work_word_for_word(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every block of the story but the installation, with other addresses in the place for one's
    own.
    """
    (tmp_path / "README.md").write_text(ENGLISH.read_text(encoding="utf-8"), encoding="utf-8")
    environ, first = {}, ""
    if database == "postgresql":
        environ["OLLAMA_ADMIN_DATABASE_URL"] = request.getfixturevalue("empty_postgres_url")
        first = "ollama-admin migrate\n"
    model = SimulatedModel(MODEL, says="Rayleigh scattering")
    async with SimulatedServer(model, context=100_000) as one, SimulatedServer(model) as other:
        (tmp_path / ".env").write_text(
            f"OLLAMA_URL={one.url}/v1\nOLLAMA_MODEL={MODEL}\n", encoding="utf-8"
        )
        story = "".join(story_blocks())
        script = re.sub(r"(?m)^FIRST=\S+", f"FIRST={one.url}", story)
        script = re.sub(r"(?m)^SECOND=\S+", f"SECOND={other.url}", script)
        code, out = await run_script(first + script, tmp_path, environ)
    assert code == 0, out
    assert out.count("Rayleigh scattering") == 5
    assert "you can delete these lines" in out
    assert "error:" not in out


@pytest.mark.timeout(180)  # a dozen commands, one after the other
async def test_models_are_pulled_copied_and_removed_word_for_word(tmp_path: Path) -> None:
    [block] = blocks_of("docs/fleet.md", "Models on many servers")
    model = SimulatedModel(MODEL)
    async with (
        FakeOllama(registry=Registry([model])) as one,
        FakeOllama(registry=Registry([model])) as other,
    ):
        add = (
            f"ollama-admin server add first {one.url}\nollama-admin server add second {other.url}\n"
        )
        code, out = await run_script(f"MODEL={MODEL}\n{add}{block}", tmp_path, {})
    assert code == 0, out
    for word in ("removed", "copied", "loaded", "unloaded"):
        assert f" {word} " in out


@pytest.mark.timeout(180)  # a dozen commands, one after the other
@pytest.mark.parametrize("database", ["sqlite", "sqlite with its own key", "postgresql"])
async def test_secrets_are_stored_and_their_key_is_changed_word_for_word(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ways, rotate = blocks_of("docs/secrets.md", "Secrets")
    new_key, another_key = own_key_blocks()
    # nobody is there to be asked
    ways = re.sub(r"(--username me)\b.*", r"\1 --secret-env GPU_KEY", ways)
    environ = {"GPU_KEY": "canary-1", "ID": "canary-2", "SECRET": "canary-3"}
    (tmp_path / "token.txt").write_text("canary-4\n", encoding="utf-8")
    steps = [new_key, ways, another_key]
    if database == "postgresql":
        environ["OLLAMA_ADMIN_DATABASE_URL"] = request.getfixturevalue("migrated_postgres_url")
    elif database != "sqlite":
        steps = [ways, rotate]
    async with FakeOllama(SimulatedModel(MODEL)) as server:
        add = f"ollama-admin server add second {server.url}\n"
        ask = "ollama-admin discover second\nollama-admin server show second -o json\n"
        code, out = await run_script(
            "".join([*steps, ask]).replace(ways, add + ways), tmp_path, environ
        )
        sent = [
            sorted(set(request.headers.values()) & {"canary-2", "canary-3"})
            for request in server.requests
        ]
    assert code == 0, out
    assert sent[-1] == ["canary-2", "canary-3"]
    assert server.requests[-1].headers["authorization"] == "Bearer canary-4"
    assert "no problems found" in out
    assert re.search(r"stale +0\n", out), out
    assert '"token": "file:' in out
    assert "canary" not in out


def own_key_blocks() -> list[str]:
    """The block that makes a key, without the commands for PostgreSQL, and the one that changes
    it.
    """
    begin, another_key = blocks_of("docs/database.md", "PostgreSQL")
    return [re.findall(r"(?m)^export OLLAMA_ADMIN_SECRET_KEY=.*\n", begin)[0], another_key]


def story_blocks() -> list[str]:
    """The shell blocks of the five minutes, without the first, which installs, and the last, which
    serves, and then those of the first steps.
    """
    install, *blocks, serve = blocks_of("README.md", FIVE_MINUTES)
    assert "pip install" in install
    assert serve == "ollama-admin serve\n"
    return blocks + blocks_of("docs/start.md", "More ways to ask")


def blocks_of(page: str, section: str) -> list[str]:
    """The shell blocks that stand under this heading of a page."""
    return sections_of(page)[section]


def sections_of(page: str, language: str = "sh") -> dict[str, list[str]]:
    """The blocks in a language, by the heading that stands nearest before them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    heading = ""
    for title, block_language, block in HEADING_OR_BLOCK.findall(text):
        heading = title or heading
        if block_language == language:
            found.setdefault(heading, []).append(block)
    return found


async def run_script(script: str, folder: Path, environ: dict[str, str]) -> tuple[int, str]:
    """Run a shell script that stops at the first failure; its exit code and all that it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-e", "-c", script),
        cwd=folder,
        env={**os.environ, "PATH": path, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
