#!/usr/bin/env bash
# Tests, builds, migrates and deploys what is in this folder: deploy/submit.sh deploy/NAME.env
set -euo pipefail
deploy=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=deploy/environment.sh
. "$deploy/environment.sh"

# What cloudbuild.yaml is told, each under the same name with an underscore before it.
TOLD=(
  REGION SERVICE TOPIC LANDING_BUCKET ARCHIVE_BUCKET BIGQUERY_LOCATION SQL_INSTANCE DATABASE_SECRET_VERSION
  THREADS MAX_INSTANCES CPU MEMORY INGRESS LOG_LEVEL
  FUNCTION_MODULES DATAFORM_URL CLOUD_RUN_URL SECRETMANAGER_URL POWER_BI_URL MICROSOFT_LOGIN_URL
  SMTP_HOST SMTP_PORT SMTP_SECURITY SMTP_USER SMTP_SENDER
)

substitutions() {
  local key
  for key in "${TOLD[@]}"; do printf '_%s=%s,' "$key" "${!key}"; done
  printf '_COMMIT=%s' "$(git -C "$deploy" describe --always --dirty --exclude='*' 2>/dev/null || echo unknown)"
}

[ $# -eq 1 ] || fail "Usage: deploy/submit.sh deploy/NAME.env"
read_environment "$1"
gcloud builds submit "$deploy/.." --config="$deploy/../cloudbuild.yaml" --substitutions="$(substitutions)" \
  --service-account="projects/$PROJECT/serviceAccounts/$BUILD_ACCOUNT" \
  --gcs-source-staging-dir="gs://$BUILD_BUCKET/source"
# The service is private: only Pub/Sub, under this account, may call it. It can be said once the service exists.
gcloud run services add-iam-policy-binding "$SERVICE" --region="$REGION" \
  --member="serviceAccount:$PUSH_ACCOUNT" --role=roles/run.invoker >/dev/null
echo "Deployed $SERVICE to $PROJECT."
