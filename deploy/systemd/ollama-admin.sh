#!/bin/sh
# ollama-admin with the settings of the service, for root: /usr/local/bin/ollama-admin. See docs/run-it.md.
set -a
. /etc/ollama-admin/environment
exec /opt/ollama-admin/bin/ollama-admin "$@"
