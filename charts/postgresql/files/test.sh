# helm test: each service can connect to its own database and to no other.
set -euo pipefail

umask 077
for directory in /credentials/services/*/; do
  printf '*:*:*:%s:%s\n' "$(basename "$directory")" "$(sed 's/[\\:]/\\&/g' "$directory/password")"
done >"$PGPASSFILE"

services=(/credentials/services/*/)
for directory in "${services[@]}"; do
  service=$(basename "$directory")
  for other in "${services[@]}"; do
    database=warren_$(basename "$other" | tr - _)
    if answer=$(psql -qXAt -U "$service" -d "$database" -c 'select current_user' 2>&1); then
      [[ $other == "$directory" && $answer == "$service" ]] || { echo "$service can connect to $database, which belongs to another service" >&2; exit 1; }
    else
      [[ $other != "$directory" && $answer == *'permission denied for database'* ]] || { echo "$service, $database: $answer" >&2; exit 1; }
    fi
  done
  echo "$service: can connect only to its own database"
done
