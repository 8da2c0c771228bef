#!/bin/sh
# iptables.sh PORT WORKERS COMMAND...: single processes behind one port, shared out by the packet filter.
# COMMAND gets a port of its own as its last argument. Runs in a network namespace made for it.
set -eu
port=$1 workers=$2
shift 2

ip link set lo up
number=1
while [ "$number" -le "$workers" ]; do
  "$@" $((port + number)) &
  # Of the connections that come to this rule, one in as many as there are processes left; the last takes all.
  "$IPTABLES" -t nat -A OUTPUT -o lo -p tcp --dport "$port" \
    -m statistic --mode nth --every $((workers - number + 1)) --packet 0 \
    -j REDIRECT --to-ports $((port + number))
  number=$((number + 1))
done
echo "rules-ready $port"
wait
