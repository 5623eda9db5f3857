# Sourced by the steps of action.yml.  Works with bash 3.2, which macOS has.
# shellcheck shell=bash disable=SC2034  # the steps use what is set here
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$RUNNER_TEMP/mlflow-gc/venv
# Isolated (-I), as everywhere in this action: the workspace may hold modules of any name, and
# PYTHONPATH may point anywhere.
isolated=("$venv/bin/python" -I)
mlflow_gc=("${isolated[@]}" -m mlflow_gc)
# What the steps hand on to each other about the plan of this name; files is what gets uploaded.
scratch=$RUNNER_TEMP/mlflow-gc/$NAME.plan
files=$scratch/files

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# A fixed sentence for the run's page.  Nothing that comes from a server or a file belongs in it:
# the runner would act on it.
annotate() { # notice|warning|error SENTENCE
    printf '::%s title=mlflow-gc::%s\n' "$1" "$2"
}

fail() { # EXIT-CODE SENTENCE
    annotate error "$2"
    exit "$1"
}

output() { # NAME VALUE
    local end
    end=end-$(random)
    printf '%s<<%s\n%s\n%s\n' "$1" "$end" "$2" "$end" >>"$GITHUB_OUTPUT"
}

# Run a program, its words to the log and into a file.  The runner acts on none of them: a name from
# the server may look like a workflow command.  A signal to this step goes to the program, which
# finishes the calls under way and its journal.
logged() { # FILE PROGRAM...
    local log=$1 pipe=$scratch/pipe resume printer program code signalled
    shift
    resume=$(random)
    rm -f "$pipe"
    mkfifo "$pipe"
    printf '::stop-commands::%s\n' "$resume"
    tee "$log" <"$pipe" &
    printer=$!
    "$@" >"$pipe" 2>&1 &
    program=$!
    # Once: to a second signal the program would end at once.
    trap 'signalled=yes; trap "signalled=yes" INT TERM; kill -TERM "$program" || true' INT TERM
    while :; do
        signalled=""
        code=0
        wait "$program" || code=$?
        # A signal ends the wait, not the program.
        [[ -n $signalled ]] || break
    done
    trap - INT TERM
    wait "$printer"
    printf '::%s::\n' "$resume"
    return "$code"
}

# The end of what a program said, as text and nothing but text, for the run's page.
quoted() { # FILE
    printf '<pre>\n'
    tail -n 50 "$1" | cut -c 1-2000 | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'
    printf '</pre>\n'
}
