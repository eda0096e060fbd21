# Applies definitions.json to a running broker, and creates a user for each service that has a password.
# Idempotent; all other objects of the broker are left unchanged.
set -euo pipefail
source /scripts/api.sh

json() { # TEXT as a JSON string
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

put() { # WHAT DEFINITIONS
  request POST definitions "$2"
  if [[ $status != 2* ]]; then
    echo "cannot apply $1: RabbitMQ responded $status: $answer" >&2
    exit 1
  fi
  echo "$1: done"
}

deadline=$((SECONDS + ${TIMEOUT:?}))
until
  request GET 'nodes?columns=running'
  [[ $status == 200 && $(grep -o '"running":true' <<<"$answer" | wc -l) -ge ${REPLICAS:?} ]]
do
  if [[ $status == 401 ]]; then
    echo "RabbitMQ refused the password of '$RABBITMQ_USER' in its Secret: set that password with rabbitmqctl change_password" >&2
    exit 1
  fi
  if ((SECONDS > deadline)); then
    echo "RabbitMQ did not have $REPLICAS running nodes within $TIMEOUT s; last response: $status $answer" >&2
    exit 1
  fi
  sleep 1
done

users=
for directory in /credentials/*/; do
  users+=${users:+,}
  users+="{\"name\":$(json "$(basename "$directory")"),\"password\":$(json "$(<"$directory/password")"),\"tags\":[],\"limits\":${USER_LIMITS:?}}"
done
put 'users' "{\"users\":[$users]}"
put 'exchanges, queues, permissions' "$(</scripts/definitions.json)"
