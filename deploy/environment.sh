# shellcheck shell=bash
# Reads the file of an environment, and names what is made from it. The other scripts source this one.

KEYS=(
  PROJECT REGION SERVICE TOPIC LANDING_BUCKET ARCHIVE_BUCKET BIGQUERY_LOCATION BIGQUERY_DATASETS
  SQL_INSTANCE SQL_TIER SQL_AVAILABILITY SQL_MAX_CONNECTIONS DATABASE_SECRET_VERSION
  THREADS MAX_INSTANCES CPU MEMORY INGRESS LOG_LEVEL
  SECRETS FUNCTION_MODULES CLOUD_RUN_JOBS DATAFORM_ACCOUNTS
  DATAFORM_URL CLOUD_RUN_URL SECRETMANAGER_URL POWER_BI_URL MICROSOFT_LOGIN_URL
  SMTP_HOST SMTP_PORT SMTP_SECURITY SMTP_USER SMTP_SENDER
)
# A service without them has its defaults.
OPTIONAL=" SECRETS FUNCTION_MODULES CLOUD_RUN_JOBS DATAFORM_ACCOUNTS "
OPTIONAL+="DATAFORM_URL CLOUD_RUN_URL SECRETMANAGER_URL POWER_BI_URL MICROSOFT_LOGIN_URL "
OPTIONAL+="SMTP_HOST SMTP_PORT SMTP_SECURITY SMTP_USER SMTP_SENDER "
NUMBERS=" SMTP_PORT SQL_MAX_CONNECTIONS DATABASE_SECRET_VERSION THREADS MAX_INSTANCES "

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
      problems+=("$file:$number: there is no key $key$(nearest_key "$key")")
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
  for key in $OPTIONAL; do printf -v "$key" '%s' "${!key:-}"; done
  check_sizes "$file"
  name_things
}

is_key() {
  [[ " ${KEYS[*]} " == *" $1 "* ]]
}

# The end of a sentence that names the key of which this one is a slip of the pen; nothing when none is near.
nearest_key() {
  local key best='' least=4 distance
  for key in "${KEYS[@]}"; do
    distance=$(distance "$1" "$key")
    if [ "$distance" -lt "$least" ]; then best=$key least=$distance; fi
  done
  [ -z "$best" ] || printf '; did you mean %s?' "$best"
}

# How many letters must be changed, added or taken away to make one word of the other.
distance() {
  local i j corner above row=()
  for ((j = 0; j <= ${#2}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#1}; i++)); do
    corner=${row[0]} row[0]=$i
    for ((j = 1; j <= ${#2}; j++)); do
      above=${row[j]}
      [ "${1:i-1:1}" = "${2:j-1:1}" ] || corner=$((corner + 1))
      if ((above + 1 < corner)); then corner=$((above + 1)); fi
      if ((row[j - 1] + 1 < corner)); then corner=$((row[j - 1] + 1)); fi
      row[j]=$corner corner=$above
    done
  done
  echo "${row[${#2}]}"
}

value_problems() {
  local key=$1 value=${!1:-} allowed='^[A-Za-z0-9._-]+$'
  [ "$key" != BIGQUERY_DATASETS ] || allowed='^[A-Za-z0-9_]+( [A-Za-z0-9_]+)*$'
  [ "$key" != SECRETS ] || allowed='^[A-Za-z0-9_-]+( [A-Za-z0-9_-]+)*$'
  [ "$key" != CLOUD_RUN_JOBS ] || allowed='^[a-z][a-z0-9-]*( [a-z][a-z0-9-]*)*$'
  [ "$key" != DATAFORM_ACCOUNTS ] || allowed='^[a-z0-9-]+@[a-z0-9.-]+( [a-z0-9-]+@[a-z0-9.-]+)*$'
  [ "$key" != FUNCTION_MODULES ] || allowed='^[A-Za-z_][A-Za-z0-9_.]*( [A-Za-z_][A-Za-z0-9_.]*)*$'
  [[ $key != *_URL ]] || allowed='^https://[A-Za-z0-9.-]+(/[A-Za-z0-9._/-]*)?$'
  [[ $key != SMTP_USER && $key != SMTP_SENDER ]] || allowed='^[A-Za-z0-9._%+@-]+$'
  [ "$key" != SERVICE ] || allowed='^[a-z][a-z0-9-]{4,20}[a-z0-9]$'
  [[ $NUMBERS != *" $key "* ]] || allowed='^[1-9][0-9]{0,5}$'
  if [ -z "$value" ]; then
    [[ $OPTIONAL == *" $key "* ]] || echo "$key is missing"
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
