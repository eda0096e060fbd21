# Calls the management API with bash only.
# request METHOD PATH [BODY]: sets $status and $answer; the status is 000 when there is no response.
host=${RABBITMQ_HOST:?} port=15672
credentials=$(printf '%s:%s' "${RABBITMQ_USER:?}" "${RABBITMQ_PASSWORD:?}" | base64 -w0)

request() {
  local LC_ALL=C body=${3:-} header
  status=000 answer=
  exec {socket}<>"/dev/tcp/$host/$port" || return 0
  printf '%s /api/%s HTTP/1.0\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
    "$1" "$2" "$host" "$credentials" "${#body}" "$body" >&"$socket"
  read -r -t 60 _ status _ <&"$socket" || status=000
  while IFS= read -r -t 60 header <&"$socket" && [[ $header != $'\r' ]]; do :; done
  answer=$(timeout 60 cat <&"$socket") || true
  exec {socket}>&-
} 2>/dev/null
