# helm test: the nodes run without alarms, the shared exchanges exist, and each service's user can log in.
set -euo pipefail
source /scripts/api.sh

expect() { # PATH PATTERN
  request GET "$1"
  if [[ $status != 200 || ! $answer =~ $2 ]]; then
    echo "GET /api/$1: $status $answer" >&2
    exit 1
  fi
  echo "$1: ok"
}

expect health/checks/alarms ok
expect health/checks/local-alarms ok
expect health/checks/node-is-quorum-critical ok
for exchange in events rpc unrouted unconsumed; do expect "exchanges/%2F/$exchange?columns=name" "$exchange"; done
for directory in /credentials/*/; do
  service=$(basename "$directory")
  expect "user-limits/$service" max-connections
  expect "users/$service/permissions" "\^$service"
  expect "users/$service/topic-permissions" "\^$service"
done
