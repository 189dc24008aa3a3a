"""`ollama-admin db ...`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import print_table, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.output import Output

if TYPE_CHECKING:
    from ollama_admin.services.databases import DatabaseCopy

SHOWN_DIGITS = 12  # of a checksum

app = Commands("Copy a database, back it up, restore it.")


@app.command("copy")
def copy(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The URL of a database, or env:NAME.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The URL of an empty one, or env:NAME.")
    ],
    output: OutputOption = None,
) -> None:
    """Copy a whole database into an empty one: SQLite to PostgreSQL, back, or the same kind.

    The source is read as it is at one moment. The target is written in one transaction, read back
    and compared: it has everything, or it is as it was. What is written to the source later is not
    copied, so stop the programs that use it first. Secrets stay encrypted under the same key.

    A password in a URL shows in process lists: env:NAME is the URL in a variable.
    """
    shell = shell_of(context, output)
    copied = shell.copy_database(source, target)
    shell.show(copied, _print_copy)


@app.command("backup")
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    yes: Annotated[bool, typer.Option("--yes", help="Overwrite a file that is there.")] = False,
    output: OutputOption = None,
) -> None:
    """Write an SQLite database into a file, while others use it.

    Only you can read the file. It does not hold the key of stored secrets.
    """
    shell = shell_of(context, output)
    done = shell.back_up_database(file, replace=yes)
    shell.show_done(done, f"wrote {done.database} at revision {done.revision} to {done.file}")


@app.command("restore")
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `db backup`.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Overwrite the database without asking.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Make an SQLite database what a backup holds; what came after it is lost.

    The file is checked first. It is one transaction: programs that use the database see all of it
    or nothing.
    """
    shell = shell_of(context, output)
    if shell.is_database_overwritten(file) and not yes:
        shell.confirm(f"Overwrite {shell.settings().sqlite_path}?")
    done = shell.restore_database(file)
    shell.show_done(done, f"restored {done.database} at revision {done.revision} from {done.file}")


def _print_copy(output: Output, copied: "DatabaseCopy") -> None:
    rows = [
        (table.table, f"{table.rows}", table.checksum[:SHOWN_DIGITS]) for table in copied.tables
    ]
    print_table(output, ("TABLE", "ROWS", "CHECKSUM"), rows)
    output.line(f"copied and compared {copied.rows} rows at revision {copied.revision}")
