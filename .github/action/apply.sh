#!/usr/bin/env bash
# Apply a plan, if it is the one that was approved.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rm -rf "$scratch"
mkdir -p "$scratch"
[[ $EXPECT =~ ^sha256:[0-9a-f]{64}$ ]] ||
    fail 64 "The input expect must be the plan_id that was approved: sha256: and 64 hex digits."
[[ -f $PLAN ]] || fail 64 "There is no file where the input plan says."
journal=${JOURNAL:-$PLAN.journal.jsonl}
# At once: the journal is uploaded however this ends.
output journal "$journal"

code=0
logged "$scratch/prune.log" "${mlflow_gc[@]}" prune "$PLAN" --expect "$EXPECT" \
    --journal "$journal" || code=$?
# Where another plan's journal lay there already, this one has a name of its own.
own=${journal%.journal.jsonl}.${EXPECT:7:12}.journal.jsonl
[[ ! -f $own ]] || output journal "$own"
output exit-code "$code"
output plan-id "$EXPECT"
case $code in
0) said="applied" ;;
3) said="applied, but some entities could not be deleted" ;;
5) said="refused, nothing was changed" ;;
130 | 143) said="stopped in order; the same plan can be applied again" ;;
*) said="not applied to the end; the same plan can be applied again" ;;
esac
{
    # shellcheck disable=SC2016  # backquotes of Markdown
    printf '### `%s`: %s\n\n`%s`, exit code %s\n\n' "$NAME" "$said" "$EXPECT" "$code"
    quoted "$scratch/prune.log"
} >>"$GITHUB_STEP_SUMMARY"
[[ $code == 0 ]] || fail "$code" "The plan was $said (exit code $code). The log and the summary say why."
