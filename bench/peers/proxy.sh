#!/bin/sh
# proxy.sh CONFIG "PORT..." COMMAND...: single processes, each on a port of its own, behind nginx.
# COMMAND gets its port as its last argument.
set -eu
config=$1 ports=$2
shift 2
for port in $ports; do "$@" "$port" & done
"$NGINX" -e stderr -p "$(dirname "$config")" -c "$config"
