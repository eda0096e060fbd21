# Creates a role and a database for each service that has a password; no service may connect to another's database.
# Idempotent; all other objects of the server are left unchanged.
set -euo pipefail

umask 077
printf '*:*:*:postgres:%s\n' "$(sed 's/[\\:]/\\&/g' /credentials/password)" >"$PGPASSFILE"

deadline=$((SECONDS + ${TIMEOUT:?}))
until failure=$(psql -qXAt -d postgres -c 'select 1' 2>&1 >/dev/null); do
  if [[ $failure == *'password authentication failed'* ]]; then
    echo "PostgreSQL refused the password of 'postgres' in its Secret: set that password with alter role" >&2
    exit 1
  fi
  if ((SECONDS > deadline)); then
    echo "PostgreSQL was not available within $TIMEOUT s: $failure" >&2
    exit 1
  fi
  sleep 1
done

psql -qX -v ON_ERROR_STOP=1 -d postgres -c 'revoke connect on database postgres, template1 from public'

for directory in /credentials/services/*/; do
  service=$(basename "$directory")
  psql -qXAt -v ON_ERROR_STOP=1 -d postgres -v role="$service" -v database="warren_${service//-/_}" \
    -v file="$directory/password" <<'SQL'
\set password `cat :file`
select format('create role %I login', :'role') where not exists (select from pg_roles where rolname = :'role') \gexec
-- The statement contains the password, so it must not be logged.
set log_min_error_statement = panic;
alter role :"role" with login nosuperuser nocreatedb nocreaterole password :'password';
select format('create database %I owner %I', :'database', :'role')
  where not exists (select from pg_database where datname = :'database') \gexec
revoke connect on database :"database" from public;
\echo :role owns the database :database
SQL
done
