#!/usr/bin/env bash
# Install mlflow-gc as it is in the commit that the workflow names, once for all steps of a job.
if [[ ! $NAME =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,59}$ ]]; then
    # First of all: paths are made of it.
    echo "::error title=mlflow-gc::The input name may hold letters, digits, dots, hyphens and underscores."
    exit 64
fi
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case $MODE in
report | apply) ;;
*) fail 64 "The input mode is neither report nor apply." ;;
esac
# An empty secret, as in pull requests from forks, must not become MLflow's default server.
uri=${MLFLOW_TRACKING_URI:-}
if [[ -z ${uri//[[:space:]]/} ]]; then
    fail 64 "MLFLOW_TRACKING_URI is not set. A pull request from a fork gets no secrets."
fi

made_from="$root $PYTHON"
if [[ -f $venv/made-from && $(<"$venv/made-from") == "$made_from" ]]; then
    exit 0
fi
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
code=0
"$root/scripts/install.sh" "$venv" "$PYTHON" || code=$?
case $code in
0) ;;
64) fail 64 "Python 3.10 or newer is needed: set the input python-version." ;;
*) fail 1 "The dependencies of mlflow-gc could not be installed; the log says why." ;;
esac
printf '%s' "$made_from" >"$venv/made-from"
