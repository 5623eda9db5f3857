#!/usr/bin/env bash
# Deploys mlflow-gc on Anaconda Enterprise 5, in two steps with a report to read between them:
#
#   ae5_deploy.sh upload mlflow-gc-<version>.tar.gz
#   ae5_deploy.sh schedule mlflow-gc-<version> ["0 0 * * *"]
#
# Needs ae5-tools and Python, and these variables:
#
#   AE5_HOSTNAME, AE5_USERNAME            the cluster, and the service account that owns the jobs
#   AE5_PASSWORD                          its password
#   or, to log in as an administrator on its behalf:
#   AE5_IMPERSONATE=true, AE5_ADMIN_USERNAME, AE5_ADMIN_PASSWORD
#
# `upload` stores those of these variables that are set as AE5 secrets of that account; what is not set
# stays as it is:
#
#   MLFLOW_TRACKING_URI, MLFLOW_REGISTRY_URI, MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_ENTITY_TTL,
#   MLFLOW_GC_DIR
set -euo pipefail

settings=(MLFLOW_TRACKING_URI MLFLOW_REGISTRY_URI MLFLOW_TRACKING_TOKEN MLFLOW_TRACKING_ENTITY_TTL
    MLFLOW_GC_DIR)
job="scheduled mlflow-gc"

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Prints the value of a Python expression about the JSON document `it` on stdin.
query() { python -c "import json, sys; it = json.load(sys.stdin); print($1)"; }

log_in() {
    : "${AE5_HOSTNAME:?names the cluster}" "${AE5_USERNAME:?names the service account}"
    # What ae5-tools takes for a no.
    case ${AE5_IMPERSONATE:-} in
    '' | 0 | f | false | n | no | off)
        unset AE5_IMPERSONATE
        : "${AE5_PASSWORD:?is the password of the service account}"
        ;;
    *) : "${AE5_ADMIN_USERNAME:?names the administrator}" "${AE5_ADMIN_PASSWORD:?is its password}" ;;
    esac
    # ae5-tools stores its cookies here. They end with this script, and those of other logins are not used.
    AE5_TOOLS_CONFIG_DIR=$(mktemp -d)
    export AE5_TOOLS_CONFIG_DIR
    trap 'rm -rf "$AE5_TOOLS_CONFIG_DIR"' EXIT
    ae5 login > /dev/null
}

store_secrets() {
    local name value printed
    for name in "${settings[@]}"; do
        value=${!name:-}
        [ -n "${value//[[:space:]]/}" ] || continue
        # If it fails, ae5-tools prints the request with the value.
        if ! printed=$(ae5 secret add --yes "$name" "$value" 2>&1); then
            printed=$(grep -v 'json:' <<< "$printed" || true)
            fail "${printed//"$value"/***}" "The secret $name was not stored."
        fi
        echo "Stored the secret $name."
    done
}

upload() {
    local archive=$1 project run id state
    [ -f "$archive" ] || fail "There is no file $archive."
    project=$(basename "$archive" .tar.gz)
    log_in
    # AE5 refuses a second project of the same name only after the upload.
    [ "$(ae5 project list "$project" --format json | query 'len(it)')" = 0 ] ||
        fail "The project $project exists. Delete it first (ae5 project delete), or rename the archive."
    store_secrets
    ae5 project upload --name "$project" "$archive"
    # ae5-tools exits with 0 when a run fails: the state says so.
    run=$(ae5 job create --command Report --name "mlflow-gc report" --make-unique \
        --wait --show-run --format json "$project")
    id=$(query 'it["id"]' <<< "$run")
    state=$(query 'it["state"]' <<< "$run")
    ae5 run log "$id"
    [ "$state" = completed ] || fail "The report ended as \"$state\": nothing is scheduled."
    echo
    echo "Read this report. Prune every night what such a report lists:"
    echo "  $0 schedule $project"
}

schedule() {
    local project=$1 cron=${2:-0 0 * * *} jobs others own
    log_in
    jobs=$(ae5 job list --format json)
    # The project that this one follows has a command of the same name.
    others=$(query '"\n".join(
        j["name"] for j in it
        if j.get("schedule") and j["command"] == "Prune" and not j["name"].startswith("'"$job"'"))' <<< "$jobs")
    [ -z "$others" ] ||
        fail "Another job prunes on a schedule:" "$others" "Delete it first (ae5 job delete): two jobs must not prune at once."
    own=$(query '"\n".join(j["id"] for j in it if j["name"].startswith("'"$job"'"))' <<< "$jobs")
    for id in $own; do
        ae5 job delete --yes "$id" || fail "The job $id was not deleted. If it is running, wait for its end."
    done
    # The runs of a deleted job keep its name.
    ae5 job create --command Prune --schedule "$cron" --name "$job" --make-unique "$project"
}

case "$#:${1:-}" in
2:upload) upload "$2" ;;
[23]:schedule) schedule "${@:2}" ;;
*) fail "Usage: $0 upload ARCHIVE" "       $0 schedule PROJECT [CRON]" ;;
esac
