import os
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import envfile, reader


def parsed(text: str) -> dict[str, str | None]:
    return {binding.key: binding.value for binding in envfile.parse(text, ".env")}


def lines(text: str) -> dict[str, int | None]:
    return {binding.key: binding.line for binding in envfile.parse(text, ".env")}


def written(folder: Path, data: bytes, name: str = ".env") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=plain", "plain"),
        ("export A=exported", "exported"),
        ("A = spaced ", "spaced"),
        ("A='single # kept'", "single # kept"),
        ('A="escaped \\n line"', "escaped \n line"),
        ("A='two\nlines'", "two\nlines"),
        ("A=abc#def", "abc#def"),
        ("A=abc #def", "abc"),
        ("A=", ""),
        ("A", None),
        ("A=1\r\n", "1"),
        ("A=1\r", "1"),
        ("A=first\nA=last", "last"),
    ],
)
def test_values_are_those_of_python_dotenv(text: str, value: str | None) -> None:
    assert parsed(text) == {"A": value}


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    file = envfile.read(written(tmp_path, b"\xef\xbb\xbfOLLAMA_URL=a\n"))
    assert [binding.key for binding in file.bindings] == ["OLLAMA_URL"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_those_of_the_statement_not_of_the_blanks_before_it(newline: str) -> None:
    text = newline.join(["", "# comment", "", "A=1", "", "", "B='x", "y'", "  ", "C=3"])
    assert lines(text) == {"A": 4, "B": 7, "C": 10}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\n\n\nB='open\nC=3\n", 4),
        ('A="open\nB=2', 1),
        ("A=1\r\n\r\nB='x'; C=2\r\n", 3),
        ("A='x'; B=2\n", 1),
        ("=1\n", 1),
    ],
)
def test_a_statement_that_python_dotenv_drops_is_named_with_its_line_and_the_others_are_read(
    text: str, line: int
) -> None:
    bindings = envfile.parse(text, ".env")
    (unreadable,) = [binding for binding in bindings if binding.error]
    assert (unreadable.line, unreadable.value) == (line, None)
    assert str(unreadable.error).startswith(f".env, line {line}: ")
    assert len(bindings) == 1 + text.count("C=3") + text.count("A=1") + text.count("\nB=2")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("A=1\nB=é\n".encode("latin-1"), 2),
        ("A=1\n".encode("utf-16"), 1),
        ("A=1\n".encode("utf-16-le"), 1),
        (b"A=1\nB=2\nC=\0\n", 3),
        (b"\xef\xbb\xbfA=1\n\nB=\xff", 3),
    ],
)
def test_what_is_not_utf8_text_is_refused_with_its_line(
    tmp_path: Path, data: bytes, line: int
) -> None:
    path = written(tmp_path, data)
    with pytest.raises(InvalidInput) as caught:
        envfile.read(path)
    assert caught.value.message.startswith(f"{path}, line {line}: ")
    assert "UTF-8" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("H=gpu\nA=http://${H}:1", "http://gpu:1"),
        ("H=gpu\nA='http://${H}:1'", "http://gpu:1"),
        ("A=${H:-fallback}", "fallback"),
        ("H=gpu\nA=${H:-fallback}", "gpu"),
        ("H=\nA=${H:-fallback}", ""),
        ("A=$H", "$H"),
        ("A=${H", "${H"),
        ("H=1\nA=${H}${H}", "11"),
        ("A=${B:-${C:-http://h}}/x", "http://h/x"),
        ("A=${B-x}", "x"),
        ("C=c\nA=${B:-${C}}", "c"),
        ("B=1\nA=${B:+x}${C:+y}", "x"),
        ("B=1\nA=${B:?set it}", "1"),
        ("A=${weird!}", "${weird!}"),
    ],
)
def test_references_are_filled_from_earlier_lines_and_their_defaults(text: str, value: str) -> None:
    binding = envfile.parse(text, ".env")[-1]
    assert (binding.value, binding.unfilled) == (value, ())


@pytest.mark.parametrize(
    "text",
    [
        "A=x${PGPASSWORD}",
        "A='x${PGPASSWORD}'",
        "A=x${PGPASSWORD:?set it}",
        "A=x${B:-${PGPASSWORD}}",
        "A=x${PGPASSWORD}\nPGPASSWORD=1",
    ],
)
def test_references_are_never_filled_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("PGPASSWORD", "canary")
    binding = envfile.parse(text, ".env")[0]
    assert (binding.value, binding.unfilled) == ("x", ("PGPASSWORD",))


def test_references_that_multiply_are_refused() -> None:
    text = "A0=0123456789\n" + "".join(f"A{n}=${{A{n - 1}}}${{A{n - 1}}}\n" for n in range(1, 60))
    errors = [str(binding.error) for binding in envfile.parse(text, ".env") if binding.error]
    assert errors
    assert all("too long" in error for error in errors)


@pytest.mark.parametrize("shape", ["one value", "many values"])
def test_filled_values_have_four_million_characters_together_and_no_more(shape: str) -> None:
    """`A` has a quarter of them, and is there in full three times more at most."""

    def filled(times: int) -> str:
        many = "".join(f"B{number}=${{A}}\n" for number in range(times))
        return f"A={'x' * 2**20}\n" + (f"B={'${A}' * times}" if shape == "one value" else many)

    values = [binding.value or "" for binding in envfile.parse(filled(3), ".env")]
    assert sum(len(value) for value in values) == 4 * 2**20
    *_, last = envfile.parse(filled(4), ".env")
    assert re.match(r"\.env, line [25]: .* make the values too long$", str(last.error))


def test_a_long_run_of_blanks_costs_no_time() -> None:
    started = time.monotonic()
    with pytest.raises(InvalidInput, match=r"^\.env, line 2: .*blanks"):
        envfile.parse("A=1\nB=x" + " " * 900_000 + "y", ".env")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "piece", ["${", "${a:-${", "`", "unset a ", "${a:-", "${a:-b}", "\\'", "$"]
)
def test_a_long_value_costs_no_time(piece: str) -> None:
    started = time.monotonic()
    envfile.parse("A=" + piece * (400_000 // len(piece)), ".env")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_behind_unreadable_ones_keep_their_numbers(newline: str) -> None:
    lines = ["A=1", "=x", "", "B='open", "# a comment", "C=2"]
    bindings = envfile.parse(newline.join(lines), ".env")
    assert [binding.line for binding in bindings] == [1, 2, 4, 6]


@pytest.mark.parametrize("kind", ["folder", "missing", "fifo", "device", "nul"])
def test_what_is_no_regular_file_is_refused_with_its_path(tmp_path: Path, kind: str) -> None:
    path = {"device": Path("/dev/zero"), "nul": Path("a\0b")}.get(kind, tmp_path / kind)
    if kind == "folder":
        path.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(InvalidInput) as caught:
        envfile.read(path)
    assert str(path).replace("\0", r"\x00") in caught.value.message


def test_a_fifo_with_a_writer_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"A=1\n",))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer.start()
    with pytest.raises(InvalidInput, match="not a regular file"):
        envfile.read(path)
    writer.join()
    os.close(reader)


def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(
        InvalidInput, match=f"the file {loop} cannot be read: Too many levels of symbolic links"
    ):
        envfile.read(loop)


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    assert len(envfile.read(written(tmp_path, b"#" * envfile.SIZE_LIMIT)).bindings) == 0
    with pytest.raises(InvalidInput, match="is longer than 1024 KiB"):
        envfile.read(written(tmp_path, b"#" * (envfile.SIZE_LIMIT + 1)))


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(written(tmp_path, b"A=1"))
    assert len(envfile.read(link).bindings) == 1


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 1), (0o644, 1)])
def test_a_file_with_secrets_that_others_can_read_is_named(
    tmp_path: Path, mode: int, warnings: int
) -> None:
    path = written(tmp_path, b"OLLAMA_URL=http://u:p@a")
    path.chmod(mode)
    assert len(reader.read([envfile.read(path)]).warnings) == warnings


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o660, 0), (0o602, 1)])
def test_a_file_that_every_user_can_change_is_named(
    tmp_path: Path, mode: int, warnings: int
) -> None:
    path = written(tmp_path, b"OLLAMA_URL=a")
    path.chmod(mode)
    assert len(reader.read([envfile.read(path)]).warnings) == warnings


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_read_and_named(tmp_path: Path) -> None:
    path = written(tmp_path, b"OLLAMA_URL=a")
    os.chown(path, 12345, -1)
    found = reader.read([envfile.read(path)])
    assert len(found.servers) == 1
    assert found.warnings == (f"{path} belongs to user 12345, who can change it",)


def test_the_environment_is_taken_as_it_is() -> None:
    file = envfile.from_environ({"B": "${A}", "A": "1"})
    assert [(b.file, b.line, b.key, b.value) for b in file.bindings] == [
        (None, None, "A", "1"),
        (None, None, "B", "${A}"),
    ]


def test_a_value_is_in_no_repr() -> None:
    assert "hunter2" not in repr(envfile.parse("A=hunter2", ".env"))


env_texts = st.text(st.sampled_from("AB=# \n\r\t'\"\\${}:-;,\ufeff\x00é")) | st.text()


@given(env_texts)
def test_any_text_parses_or_is_refused_with_a_line(text: str) -> None:
    last = 1 + text.count("\n") + text.count("\r")
    try:
        found = [binding.line for binding in envfile.parse(text, ".env")]
    except InvalidInput as exc:
        found = [line_of(exc)]
    assert all(line is not None and 1 <= line <= last for line in found)


@given(st.binary())
def test_any_bytes_decode_or_are_refused_with_a_line(data: bytes) -> None:
    last = 1 + data.count(b"\n") + data.count(b"\r")
    try:
        assert "\0" not in envfile.decode(data, ".env")
    except InvalidInput as exc:
        found = line_of(exc)
    else:
        found = 1
    assert 1 <= found <= last


def line_of(error: InvalidInput) -> int:
    return int(error.message.removeprefix(".env, line ").partition(":")[0])
