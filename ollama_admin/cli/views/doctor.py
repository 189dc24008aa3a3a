"""How the doctor's report is shown."""

from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.output import Output

if TYPE_CHECKING:
    from ollama_admin.services.doctor import Report


def print_report(output: Output, report: "Report") -> None:
    """Print settings, database, key and servers, then every finding."""
    _print_settings(output, report)
    output.line("")
    if report.servers:
        _print_servers(output, report)
        output.line("")
    _print_findings(output, report)


def _print_settings(output: Output, report: "Report") -> None:
    rows = [(setting.name, setting.value, setting.source) for setting in report.settings]
    print_table(output, ["SETTING", "VALUE", "FROM"], rows)
    output.line("")
    revision = report.revision or "unknown"
    if report.revision is None and report.secrets is not None:
        output.sentence("there is no database yet")
    else:
        output.sentence(f"database revision {revision}, this version needs {report.head}")
    if report.secrets is not None:
        source = report.secrets.key_source or "nowhere yet"
        output.sentence(f"stored secrets {report.secrets.secrets}, key from {source}")


def _print_servers(output: Output, report: "Report") -> None:
    rows = []
    for health in report.servers:
        active = "yes" if health.is_active else "no"
        rows.append((str(health.server), health.status, health.version, active))
    print_table(output, ["SERVER", "STATUS", "VERSION", "ACTIVE"], rows)


def _print_findings(output: Output, report: "Report") -> None:
    for finding in report.findings:
        output.sentence(f"{finding.level}: {finding.text}")
    for health in report.servers:
        for finding in health.findings:
            output.sentence(f"{finding.level}: {_about(str(health.server), finding.text)}")
    if not report.all_findings:
        output.line("no problems found")


def _about(server: str, text: str) -> str:
    """What was found, with the server's name once: errors of asking it begin with that."""
    subject = f"server {server}"
    if text.startswith(subject):
        return text
    return f"{subject}: {text}"
