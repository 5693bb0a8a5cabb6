#!/usr/bin/env bash
# Gives one of the service's commands to an environment, from this machine: deploy/command.sh deploy/NAME.env batch list
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/environment.sh
. "$root/deploy/environment.sh"

[ $# -ge 2 ] || fail "Usage: deploy/command.sh deploy/NAME.env COMMAND..."
read_environment "$1"
command -v cloud-sql-proxy >/dev/null ||
  fail "cloud-sql-proxy is missing; https://cloud.google.com/sql/docs/postgres/sql-proxy says how to install it."

end_proxy() {
  kill "$proxy" 2>/dev/null || true
  wait "$proxy" 2>/dev/null || true
  rm -rf "$sockets"
}

# Short, because the path of a socket may have no more than about 100 characters.
sockets=$(mktemp -d /tmp/sql.XXXXXX)
cloud-sql-proxy --quiet --unix-socket "$sockets" "$SQL_CONNECTION" &
proxy=$!
trap end_proxy EXIT
for _ in $(seq 100); do
  [ ! -S "$sockets/$SQL_CONNECTION/.s.PGSQL.5432" ] || break
  kill -0 "$proxy" 2>/dev/null || fail "cloud-sql-proxy ended; what it said is above."
  sleep 0.1
done

url=$(gcloud secrets versions access "$DATABASE_SECRET_VERSION" --secret="$DATABASE_SECRET")
export DATABASE_URL=${url/host=\/cloudsql/host=$sockets}
export GOOGLE_CLOUD_PROJECT=$PROJECT PUBSUB_TOPIC=$TOPIC LANDING_BUCKET ARCHIVE_BUCKET BIGQUERY_LOCATION LOG_LEVEL
export FUNCTION_MODULES DATAFORM_URL CLOUD_RUN_URL SECRETMANAGER_URL POWER_BI_URL MICROSOFT_LOGIN_URL
export SMTP_HOST SMTP_PORT SMTP_SECURITY SMTP_USER SMTP_SENDER
"${PYTHON:-$root/.venv/bin/python}" -m run "${@:2}"
