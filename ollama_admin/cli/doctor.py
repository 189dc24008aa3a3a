"""`ollama-admin doctor`"""

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.results import end
from ollama_admin.cli.views.doctor import print_report

app = Commands()


@app.command("doctor")
def doctor(context: typer.Context, output: OutputOption = None) -> None:
    """Show settings, database, key and servers, and what is wrong. Exit 7 on a problem."""
    shell = shell_of(context, output)
    report = shell.run(lambda client: client.doctor())
    shell.show(report, print_report)
    end(has_failures=report.has_problems)
