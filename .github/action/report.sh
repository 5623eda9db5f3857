#!/usr/bin/env bash
# Write a plan, compare it with an earlier one, show both on the run's page.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rm -rf "$scratch"
mkdir -p "$files"
head=$files/prune-plan.json
base=$scratch/base.json

# origin/BRANCH, fetched unless the checkout has it.
fetch_base() { # BRANCH
    local ref=refs/remotes/origin/$1 header
    export GIT_TERMINAL_PROMPT=0
    git rev-parse --quiet --verify "$ref" >/dev/null && return
    set -- fetch --quiet --no-tags --depth=1 origin "+refs/heads/$1:$ref"
    git "$@" 2>/dev/null && return
    # A checkout with persist-credentials: false.  The token goes to GitHub and nowhere else, and
    # not onto a command line, where other processes could read it.
    header="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$TOKEN" | base64 | tr -d '\n')"
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="http.$GITHUB_SERVER_URL/.extraheader" \
        GIT_CONFIG_VALUE_0=$header git "$@"
}

# Prints found, none or unknown.
find_base() {
    local commit=HEAD
    # Git obeys the configuration of the checkout: it gets no setting of the server.
    unset "${!MLFLOW_@}"
    if [[ -n $BASE_PLAN ]]; then
        if [[ -f $BASE_PLAN ]]; then
            cp -- "$BASE_PLAN" "$base"
            echo found
        else
            echo none
        fi
        return
    fi
    if [[ $PLAN == /* ]] || ! git rev-parse --git-dir >/dev/null 2>&1; then
        echo none
        return
    fi
    if [[ -n ${GITHUB_BASE_REF:-} ]]; then
        fetch_base "$GITHUB_BASE_REF" || {
            echo unknown
            return
        }
        commit=refs/remotes/origin/$GITHUB_BASE_REF
    fi
    if ! git cat-file -e "$commit:./$PLAN" 2>/dev/null; then
        echo none
    else
        git show "$commit:./$PLAN" >"$base"
        echo found
    fi
}

earlier=$(find_base)

arguments=(report --out "$head" --detailed-exitcode)
[[ -z $POLICY ]] || arguments+=(--policy "$POLICY")
[[ -z $TTL ]] || arguments+=(--ttl "$TTL")
[[ -z $AS_OF ]] || arguments+=(--as-of "$AS_OF")
code=0
logged "$scratch/report.log" "${mlflow_gc[@]}" "${arguments[@]}" || code=$?
output exit-code "$code"
if [[ ! -s $head ]]; then
    {
        printf '### mlflow-gc made no plan (exit code %s)\n' "$code"
        quoted "$scratch/report.log"
    } >>"$GITHUB_STEP_SUMMARY"
    [[ $code != 0 ]] || code=1
    fail "$code" "mlflow-gc made no plan. The log and the run's summary say why."
fi
mkdir -p -- "$(dirname -- "$PLAN")"
cp -- "$head" "$PLAN"

# From here on the plan goes by the name that it has in the artifact.
cd "$files"
if [[ $earlier == found ]]; then
    difference=0
    "${mlflow_gc[@]}" diff "$base" prune-plan.json --format json \
        >plan-diff.json 2>"$scratch/diff.log" || difference=$?
    case $difference in
    0) earlier=same ;;
    2)
        earlier=different
        "${mlflow_gc[@]}" diff "$base" prune-plan.json --format markdown >"$scratch/diff.md" || true
        ;;
    *)
        earlier=unknown
        rm plan-diff.json
        logged "$scratch/diff-again.log" cat "$scratch/diff.log"
        ;;
    esac
fi
[[ $earlier != unknown ]] ||
    annotate warning "The plan could not be compared with the earlier one. The log says why."

"${mlflow_gc[@]}" show prune-plan.json --format html >prune-plan.html
# What fits a comment, and what fits the run's page.
"${mlflow_gc[@]}" show prune-plan.json --format markdown >"$scratch/plan-short.md"
"${mlflow_gc[@]}" show prune-plan.json --format markdown --budget 800000 >"$scratch/plan-long.md"
facts=$("${isolated[@]}" "$root/.github/action/review.py" "$scratch" "$NAME" "$earlier")
while IFS='=' read -r name value; do
    output "$name" "$value"
done <<<"$facts"
cat "$scratch/summary.md" >>"$GITHUB_STEP_SUMMARY"
output files "$files"

case $code in
0 | 2) ;;
5) fail 5 "mlflow-gc wrote a plan that must not be applied (exit code 5). The summary says why." ;;
*) fail "$code" "mlflow-gc wrote a plan that cannot be applied (exit code $code). The summary says why." ;;
esac
