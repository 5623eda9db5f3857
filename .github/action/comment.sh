#!/usr/bin/env bash
# Keep one comment on the pull request up to date.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

unset "${!MLFLOW_@}"
exec "${isolated[@]}" "$root/.github/action/comment.py" "$scratch/comment.md"
