"""`ollama-admin doctor`"""

from typing import Any

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.options import OutputOption

PARTLY = 7


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("doctor")
def doctor(context: typer.Context, output: OutputOption = None) -> None:
    """Show settings, database, key and servers, with what is wrong. Exit 7 on a problem."""
    shell = shell_of(context, output)
    report = shell.run(lambda client: client.doctor())
    if shell.output.json:
        shell.output.data(report)
    else:
        _print(shell, report)
    if report.has_problems:
        raise typer.Exit(PARTLY)


def _print(shell: Shell, report: Any) -> None:
    tables, out = shell.tables(), shell.output
    tables.table(
        out, ["SETTING", "VALUE", "FROM"], [(s.name, s.value, s.source) for s in report.settings]
    )
    out.line("")
    tables.sentence(
        out, f"database revision {report.revision or 'unknown'}, this version needs {report.head}"
    )
    if report.secrets is not None:
        secrets = report.secrets
        tables.sentence(
            out, f"stored secrets {secrets.secrets}, key from {secrets.key_source or 'nowhere yet'}"
        )
    out.line("")
    if report.servers:
        rows = [
            (str(h.server), h.status, h.version, "yes" if h.is_active else "no")
            for h in report.servers
        ]
        tables.table(out, ["SERVER", "STATUS", "VERSION", "ACTIVE"], rows)
        out.line("")
    for finding in report.findings:
        tables.sentence(out, f"{finding.level}: {finding.text}")
    for health in report.servers:
        for finding in health.findings:
            tables.sentence(out, f"{finding.level}: server {health.server}: {finding.text}")
    if not report.all_findings:
        out.line("nothing to complain about")
