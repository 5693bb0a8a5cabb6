#!/usr/bin/env bash
# Creates what an environment needs in its Google Cloud project. Run it again after every change of the file: what is
# there stays, what is missing is made. Usage: deploy/setup.sh deploy/NAME.env
set -euo pipefail
# shellcheck source=deploy/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

say() { printf '== %s\n' "$*"; }

exists() { "$@" >/dev/null 2>&1; }

# A new account or service agent takes some seconds until policies accept it.
grant() {
  local attempt
  for attempt in 1 2 3 4 5; do
    if gcloud "$@" >/dev/null; then return; fi
    [ "$attempt" -eq 5 ] || sleep "${GRANT_PAUSE_SECONDS:-10}"
  done
  fail "This did not succeed: gcloud $*"
}

enable_apis() {
  say "APIs"
  gcloud services enable artifactregistry.googleapis.com bigquery.googleapis.com cloudbuild.googleapis.com \
    cloudresourcemanager.googleapis.com cloudscheduler.googleapis.com iam.googleapis.com logging.googleapis.com \
    pubsub.googleapis.com run.googleapis.com secretmanager.googleapis.com sqladmin.googleapis.com \
    storage.googleapis.com
  PROJECT_NUMBER=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)')
  # Cloud Run gives every service this address, so that it is known before the first deployment.
  SERVICE_URL=https://$SERVICE-$PROJECT_NUMBER.$REGION.run.app
}

create_account() {
  exists gcloud iam service-accounts describe "$1" || gcloud iam service-accounts create "${1%%@*}" --display-name="$2"
}

create_accounts() {
  say "Service accounts"
  create_account "$RUNTIME_ACCOUNT" "$SERVICE: the service and its migration job"
  create_account "$PUSH_ACCOUNT" "$SERVICE: whom Pub/Sub says it is when it pushes"
  create_account "$BUILD_ACCOUNT" "$SERVICE: builds and deploys"
  # It runs jobs, and creates the datasets of workflows that begin with CREATE SCHEMA IF NOT EXISTS.
  grant_project "$RUNTIME_ACCOUNT" roles/bigquery.user
  grant_project "$RUNTIME_ACCOUNT" roles/cloudsql.client
  grant_project "$BUILD_ACCOUNT" roles/logging.logWriter
  grant_project "$BUILD_ACCOUNT" roles/run.developer
  grant iam service-accounts add-iam-policy-binding "$RUNTIME_ACCOUNT" \
    --member="serviceAccount:$BUILD_ACCOUNT" --role=roles/iam.serviceAccountUser
}

grant_project() {
  grant projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$1" --role="$2" --condition=None
}

create_repository() {
  say "Image repository"
  exists gcloud artifacts repositories describe "$SERVICE" --location="$REGION" ||
    gcloud artifacts repositories create "$SERVICE" --location="$REGION" --repository-format=docker
  grant artifacts repositories add-iam-policy-binding "$SERVICE" --location="$REGION" \
    --member="serviceAccount:$BUILD_ACCOUNT" --role=roles/artifactregistry.writer
}

create_bucket() {
  exists gcloud storage buckets describe "gs://$1" ||
    gcloud storage buckets create "gs://$1" --location="$2" --uniform-bucket-level-access --public-access-prevention
}

grant_bucket() {
  grant storage buckets add-iam-policy-binding "gs://$1" --member="serviceAccount:$2" --role="$3"
}

create_buckets() {
  local bucket
  say "Buckets"
  create_bucket "$BUILD_BUCKET" "$REGION"
  grant_bucket "$BUILD_BUCKET" "$BUILD_ACCOUNT" roles/storage.objectViewer
  for bucket in "$LANDING_BUCKET" "$ARCHIVE_BUCKET"; do
    create_bucket "$bucket" "$BIGQUERY_LOCATION"
    grant_bucket "$bucket" "$RUNTIME_ACCOUNT" roles/storage.objectUser
    # BigQuery asks for storage.buckets.get of whoever starts a load job; objectUser does not hold it.
    grant_bucket "$bucket" "$RUNTIME_ACCOUNT" roles/storage.legacyBucketReader
  done
}

create_datasets() {
  local dataset
  say "BigQuery datasets"
  for dataset in $BIGQUERY_DATASETS; do
    bq --project_id="$PROJECT" --location="$BIGQUERY_LOCATION" --quiet query --use_legacy_sql=false "
      CREATE SCHEMA IF NOT EXISTS \`$PROJECT.$dataset\` OPTIONS (location = '$BIGQUERY_LOCATION');
      GRANT \`roles/bigquery.dataEditor\` ON SCHEMA \`$PROJECT.$dataset\` TO 'serviceAccount:$RUNTIME_ACCOUNT';"
  done
}

create_topic() {
  exists gcloud pubsub topics describe "$1" || gcloud pubsub topics create "$1"
}

grant_topic() {
  grant pubsub topics add-iam-policy-binding "$1" --member="serviceAccount:$2" --role=roles/pubsub.publisher
}

create_topics() {
  say "Topics"
  # Pub/Sub and Cloud Storage act under accounts of their own, which exist once somebody asks for them.
  gcloud beta services identity create --service=pubsub.googleapis.com >/dev/null
  PUBSUB_AGENT=service-$PROJECT_NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com
  create_topic "$TOPIC"
  create_topic "$SWEEP_TOPIC"
  create_topic "$DEAD_LETTER_TOPIC"
  grant_topic "$TOPIC" "$RUNTIME_ACCOUNT"
  grant_topic "$TOPIC" "$(gcloud storage service-agent)"
  grant_topic "$DEAD_LETTER_TOPIC" "$PUBSUB_AGENT"
}

# Creates the subscription, or gives the one that is there the same properties: push_subscription NAME FLAG...
push_subscription() {
  local name=$1 change=(update "$1")
  exists gcloud pubsub subscriptions describe "$name" || change=(create "$name" "--topic=$name")
  gcloud pubsub subscriptions "${change[@]}" "${@:2}" \
    --push-endpoint="$SERVICE_URL/" --push-auth-service-account="$PUSH_ACCOUNT" \
    --push-auth-token-audience="$SERVICE_URL" \
    --min-retry-delay=10s --max-retry-delay=600s --expiration-period=never
}

create_subscriptions() {
  say "Subscriptions"
  # The service acks what can never succeed, so a message that is not acked waits for something to come up again: the
  # database, or a free instance. It gets as many attempts as there are, about 15 hours, before it is set aside. 600 s
  # is the longest deadline there is, and with it the longest that one request may take.
  push_subscription "$TOPIC" --ack-deadline=600 --message-retention-duration=7d \
    --dead-letter-topic="$DEAD_LETTER_TOPIC" --max-delivery-attempts=100
  # A kick that is late is worth nothing, because the next one does the same: none is kept, none is set aside. A sweep
  # ends after 50 s and what it is then in the middle of.
  push_subscription "$SWEEP_TOPIC" --ack-deadline=120 --message-retention-duration=10m
  # What is set aside is pushed too: the service keeps it among the rejected messages. Until it has, it stays here.
  push_subscription "$DEAD_LETTER_TOPIC" --ack-deadline=60 --message-retention-duration=31d
  # Without it Pub/Sub neither counts attempts nor sets anything aside.
  grant pubsub subscriptions add-iam-policy-binding "$TOPIC" \
    --member="serviceAccount:$PUBSUB_AGENT" --role=roles/pubsub.subscriber
}

create_notification() {
  local there
  say "Notification of files that land"
  there=$(gcloud storage buckets notifications list "gs://$LANDING_BUCKET" --format=json)
  # A second notification would announce every file twice.
  [[ $there == *"/topics/$TOPIC\""* ]] ||
    gcloud storage buckets notifications create "gs://$LANDING_BUCKET" --skip-topic-setup \
      --topic="projects/$PROJECT/topics/$TOPIC" --event-types=OBJECT_FINALIZE --payload-format=json
}

create_schedule() {
  local verb=create
  say "The sweep, once a minute"
  ! exists gcloud scheduler jobs describe "$SWEEP_TOPIC" --location="$REGION" || verb=update
  gcloud scheduler jobs "$verb" pubsub "$SWEEP_TOPIC" --location="$REGION" --topic="$SWEEP_TOPIC" \
    --schedule='* * * * *' --time-zone=Etc/UTC --message-body='{"trigger_type":"sweep"}'
}

create_database() {
  say "Cloud SQL (the first time takes some minutes)"
  exists gcloud sql instances describe "$SQL_INSTANCE" ||
    gcloud sql instances create "$SQL_INSTANCE" --database-version=POSTGRES_17 --edition=enterprise \
      --region="$REGION" --tier="$SQL_TIER" --availability-type="$SQL_AVAILABILITY" \
      --database-flags="max_connections=$SQL_MAX_CONNECTIONS" --storage-auto-increase --ssl-mode=ENCRYPTED_ONLY \
      --backup-start-time=03:00 --enable-point-in-time-recovery --deletion-protection
  exists gcloud sql databases describe "$DATABASE" --instance="$SQL_INSTANCE" ||
    gcloud sql databases create "$DATABASE" --instance="$SQL_INSTANCE"
}

create_secret() {
  exists gcloud secrets describe "$1" || gcloud secrets create "$1" --replication-policy=automatic
  grant secrets add-iam-policy-binding "$1" \
    --member="serviceAccount:$RUNTIME_ACCOUNT" --role=roles/secretmanager.secretAccessor
}

has_value() {
  [ -n "$(gcloud secrets versions list "$1" --limit=1 --format='value(name)')" ]
}

create_database_secret() {
  local password verb=create
  say "The database's address, in Secret Manager"
  create_secret "$DATABASE_SECRET"
  if ! has_value "$DATABASE_SECRET"; then
    password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    ! exists gcloud sql users describe "$DATABASE_USER" --instance="$SQL_INSTANCE" || verb=set-password
    # A flag of the command line would show the password to everybody on this machine.
    gcloud sql users "$verb" "$DATABASE_USER" --instance="$SQL_INSTANCE" \
      --flags-file=<(printf -- '--password: "%s"\n' "$password")
    printf 'postgresql://%s:%s@/%s?host=/cloudsql/%s' "$DATABASE_USER" "$password" "$DATABASE" "$SQL_CONNECTION" |
      gcloud secrets versions add "$DATABASE_SECRET" --data-file=-
  fi
}

# Their values are given by people, and never pass through a file or a command line of ours.
create_secrets() {
  local secret
  say "The secrets that workflows name"
  for secret in $SECRETS; do
    create_secret "$secret"
    has_value "$secret" ||
      say "$secret has no value yet; give it one with: gcloud secrets versions add $secret --project=$PROJECT --data-file=-"
  done
}

allow_dataform() {
  local account
  [ -n "$DATAFORM_ACCOUNTS" ] || return 0
  say "Dataform"
  gcloud services enable dataform.googleapis.com
  # gcloud knows no policy of a single repository.
  grant_project "$RUNTIME_ACCOUNT" roles/dataform.editor
  # Dataform lets nobody run queries as an account that they may not act as:
  # https://docs.cloud.google.com/dataform/docs/strict-act-as-mode
  for account in $DATAFORM_ACCOUNTS; do
    grant iam service-accounts add-iam-policy-binding "$account" \
      --member="serviceAccount:$RUNTIME_ACCOUNT" --role=roles/iam.serviceAccountUser
  done
}

allow_jobs() {
  local job
  [ -n "$CLOUD_RUN_JOBS" ] || return 0
  say "Cloud Run jobs"
  for job in $CLOUD_RUN_JOBS; do
    if exists gcloud run jobs describe "$job" --region="$REGION"; then
      # With less, an execution cannot differ from its job: https://docs.cloud.google.com/run/docs/execute/jobs
      grant run jobs add-iam-policy-binding "$job" --region="$REGION" \
        --member="serviceAccount:$RUNTIME_ACCOUNT" --role=roles/run.developer
    else
      say "There is no job $job in $REGION yet; create it, and run this again"
    fi
  done
}

[ $# -eq 1 ] || fail "Usage: deploy/setup.sh deploy/NAME.env"
read_environment "$1"
enable_apis
create_accounts
create_repository
create_buckets
create_datasets
create_topics
create_subscriptions
create_notification
create_schedule
create_database
create_database_secret
create_secrets
allow_dataform
allow_jobs
say "Done. Next: deploy/submit.sh $1"
