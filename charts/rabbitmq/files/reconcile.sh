# Gives a running broker what definitions.json says, and a user to each service of which there is a password.
# All of it can be done again at any time; what the broker holds besides is left alone.
set -euo pipefail
source /scripts/api.sh

json() { # TEXT as a JSON string
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

put() { # WHAT DEFINITIONS
  request POST definitions "$2"
  if [[ $status != 2* ]]; then
    echo "RabbitMQ answered $status to $1: $answer" >&2
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
    echo "RabbitMQ does not know the user '$RABBITMQ_USER' by the password of its Secret: set it with rabbitmqctl change_password" >&2
    exit 1
  fi
  if ((SECONDS > deadline)); then
    echo "RabbitMQ was not there with $REPLICAS running nodes within $TIMEOUT s; the last answer was $status $answer" >&2
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
