# shellcheck shell=bash
# Reads the file of an environment, and names what is made from it. The other scripts source this one.

KEYS=(
  PROJECT REGION SERVICE TOPIC LANDING_BUCKET ARCHIVE_BUCKET BIGQUERY_LOCATION BIGQUERY_DATASETS
  SQL_INSTANCE SQL_TIER SQL_AVAILABILITY SQL_MAX_CONNECTIONS DATABASE_SECRET_VERSION
  THREADS MAX_INSTANCES CPU MEMORY INGRESS LOG_LEVEL
)
NUMBERS=" SQL_MAX_CONNECTIONS DATABASE_SECRET_VERSION THREADS MAX_INSTANCES "

# While a deployment is under way, instances of two revisions are connected.
REVISIONS_AT_ONCE=2
# For the migration, a person's commands, and what Postgres and Cloud SQL keep for themselves.
OTHER_CONNECTIONS=10
# More than these Cloud SQL does not take from one instance.
MOST_CONNECTIONS_PER_INSTANCE=100

fail() {
  printf '%s\n' "$@" >&2
  exit 2
}

# Sets a variable for every key of the file; names every problem of the file at once.
read_environment() {
  local file=$1 line key number=0 problems=()
  [ -f "$file" ] || fail "There is no file '$file'. Copy deploy/environment.example.env and give the copy's name."
  unset "${KEYS[@]}"
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    case $line in '' | '#'*) continue ;; esac
    key=${line%%=*}
    if [ "$key" = "$line" ]; then
      problems+=("$file:$number: expected KEY=value")
    elif ! is_key "$key"; then
      problems+=("$file:$number: there is no key $key")
    elif [ -n "${!key+given}" ]; then
      problems+=("$file:$number: $key is given twice")
    else
      printf -v "$key" '%s' "${line#*=}"
    fi
  done <"$file"
  for key in "${KEYS[@]}"; do
    while IFS= read -r line; do problems+=("$file: $line"); done < <(value_problems "$key")
  done
  [ ${#problems[@]} -eq 0 ] || fail "${problems[@]}"
  check_sizes "$file"
  name_things
}

is_key() {
  [[ " ${KEYS[*]} " == *" $1 "* ]]
}

value_problems() {
  local key=$1 value=${!1:-} allowed='^[A-Za-z0-9._-]+$'
  [ "$key" != BIGQUERY_DATASETS ] || allowed='^[A-Za-z0-9_]+( [A-Za-z0-9_]+)*$'
  [ "$key" != SERVICE ] || allowed='^[a-z][a-z0-9-]{4,20}[a-z0-9]$'
  [[ $NUMBERS != *" $key "* ]] || allowed='^[1-9][0-9]{0,5}$'
  if [ -z "$value" ]; then
    echo "$key is missing"
  elif ! [[ $value =~ $allowed ]]; then
    echo "$key: '$value' does not match $allowed"
  fi
}

check_sizes() {
  # The pool of run/settings.py: DATABASE_POOL_SIZE, of one worker.
  local connections_per_instance=$((THREADS + 2))
  local needed=$((MAX_INSTANCES * connections_per_instance * REVISIONS_AT_ONCE + OTHER_CONNECTIONS))
  [ "$connections_per_instance" -le "$MOST_CONNECTIONS_PER_INSTANCE" ] || fail \
    "$1: THREADS=$THREADS is more than $((MOST_CONNECTIONS_PER_INSTANCE - 2)), what the database takes from one instance"
  [ "$needed" -le "$SQL_MAX_CONNECTIONS" ] || fail \
    "$1: MAX_INSTANCES=$MAX_INSTANCES with THREADS=$THREADS needs SQL_MAX_CONNECTIONS=$needed or more, it is $SQL_MAX_CONNECTIONS"
}

# shellcheck disable=SC2034 # The scripts that source this one use them.
name_things() {
  SWEEP_TOPIC=$TOPIC-sweep
  DEAD_LETTER_TOPIC=$TOPIC-dead-letter
  DATABASE=cloud_accelerator
  DATABASE_USER=cloud_accelerator
  DATABASE_SECRET=$SERVICE-database-url
  SQL_CONNECTION=$PROJECT:$REGION:$SQL_INSTANCE
  BUILD_BUCKET=$PROJECT-$SERVICE-build
  RUNTIME_ACCOUNT=$SERVICE-runtime@$PROJECT.iam.gserviceaccount.com
  PUSH_ACCOUNT=$SERVICE-push@$PROJECT.iam.gserviceaccount.com
  BUILD_ACCOUNT=$SERVICE-build@$PROJECT.iam.gserviceaccount.com
  export CLOUDSDK_CORE_PROJECT=$PROJECT CLOUDSDK_CORE_DISABLE_PROMPTS=1
}
