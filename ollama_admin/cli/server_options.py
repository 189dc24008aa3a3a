"""The options of `server add` and `server update`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from ollama_admin.cli.auth import AuthColumns, AuthOptions
from ollama_admin.cli.options import complete_capability, complete_label, complete_model, takes
from ollama_admin.domain.servers import ApiVersion, AuthType

CONNECTION = "TLS and proxy"  # a group of options in the help


class ConnectionColumns(AuthColumns):
    """The keyword arguments of the services that are about credentials and connections."""

    ca_file: str | None
    client_cert_file: str | None
    client_key_file: str | None
    proxy: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions(AuthOptions):
    """Credentials, and how connections to the server are made."""

    ca_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="PEM file that its certificate is checked against, instead of all others.",
            rich_help_panel=CONNECTION,
        ),
    ] = None
    client_cert: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="PEM file of the certificate that it is shown (mTLS).",
            rich_help_panel=CONNECTION,
        ),
    ] = None
    client_key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="PEM file of the key, where that is a file of its own.",
            rich_help_panel=CONNECTION,
        ),
    ] = None
    proxy: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Proxy that stands before it, instead of OLLAMA_ADMIN_PROXY.",
            rich_help_panel=CONNECTION,
        ),
    ] = None

    def columns(self, current: AuthType | None = None) -> ConnectionColumns:
        """The keyword arguments of the services, as in `AuthOptions`."""
        credentials = AuthOptions.columns(self, current)
        return {
            "auth_type": credentials["auth_type"],
            "auth_config": credentials["auth_config"],
            "headers": credentials["headers"],
            "ca_file": self.ca_file,
            "client_cert_file": self.client_cert,
            "client_key_file": self.client_key,
            "proxy": self.proxy,
        }


takes_connection = takes("auth", ConnectionOptions)

ApiVersionOption = Annotated[
    ApiVersion | None,
    typer.Option(help="API to use; by default v1 if the URL ends in /v1.", show_default=False),
]
CapabilitiesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--capability",
        metavar="C",
        autocompletion=complete_capability,
        help="What it can do; may be repeated, replaces what was there.",
    ),
]
MaxConcurrentOption = Annotated[
    int | None, typer.Option(metavar="N", help="Requests it answers at once.")
]
PriorityOption = Annotated[
    int | None, typer.Option(metavar="N", help="Higher goes first; a new server has 0.")
]
DefaultModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="M",
        help="Model to use when none is named.",
        show_default=False,
        autocompletion=complete_model,
    ),
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="K=V",
        help="Set a label, such as gpu=a100; may be repeated.",
        autocompletion=complete_label,
        show_default=False,
    ),
]
ClearOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD",
        help="Empty a field: auth, ca_file, capabilities, client_cert_file, client_key_file, "
        "default_model, headers, labels, proxy.",
    ),
]
InactiveOption = Annotated[bool, typer.Option("--inactive", help="Never choose it; see enable.")]
DiscoverOption = Annotated[bool, typer.Option("--discover", help="Read its models afterwards.")]
CheckOption = Annotated[bool, typer.Option("--check/--no-check", help="Check whether it answers.")]
CheckChangeOption = Annotated[
    bool | None,
    typer.Option(
        "--check/--no-check",
        help="Check whether it answers; without either, after a change of URL or credentials.",
        show_default=False,
    ),
]
