#!/usr/bin/env bash
# Install mlflow-gc as it is in the commit that the workflow names: its dependencies with the hashes
# of requirements.txt, itself from the action's own checkout.  Nothing is built, so nothing is
# fetched that has no hash.
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
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail 64 "Python 3.10 or newer is needed: set the input python-version."
rm -rf "$venv"
"$PYTHON" -m venv "$venv"
"${isolated[@]}" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --only-binary :all: --requirement "$root/requirements.txt" ||
    fail 1 "The dependencies of mlflow-gc could not be installed; the log says why."
packages=$("${isolated[@]}" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$root" >"$packages/mlflow-gc.pth"
"${mlflow_gc[@]}" --version
printf '%s' "$made_from" >"$venv/made-from"
