#!/usr/bin/env bash
# The launches that README, docs/ and slurm/ show are planned: no page gives an example that vario
# refuses. Jobs are those of the pages themselves and of jobs/.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tests/end_common.bash
. "$root/tests/end_common.bash"
cp -r "$root/jobs" jobs
pages=("$root/README.md" "$root"/docs/*.md "$root"/slurm/*)

# Jobs in the pages begin with a name and end at an empty line: my-run.yaml is README's.
awk '/^    name: / { file = $2 ".yaml"; inside = 1 }
    !/^    / { inside = 0 }
    inside { print substr($0, 5) >file }' "${pages[@]}"
for page in my-run short moons-ivon; do
    one plan $page.yaml
    check "the job $page of a page" exits 0
done

# plan RANKS JOB [OPTION...]: as a launch would be planned
seen=0
plan()
{
    local ranks=$1 job=$2
    shift 2
    seen=$((seen + 1))
    one plan "$job" --ranks "$ranks" "$@"
    check "$job on $ranks ranks $*" exits 0
}

# option NAME LINE: its number, 1 where it is not given
option() { sed -n "s/.*$1[= ]\([0-9]*\).*/\1/p" <<<"$2" | grep . || echo 1; }

# study LINE JOB "NODES...": the steps of both studies
study()
{
    local n each first=${3%% *} sequences
    each=$(option --ntasks-per-node "$1")
    sequences=$(sed -n 's/.*microbatches: \([0-9]*\).*/\1/p' "$2")
    for n in $3; do
        plan $((n * each)) "$2"
        plan $((n * each)) "$2" --set batch.microbatches=$((sequences * n / first))
    done
}

while read -r line; do
    job=$(grep -oE '[A-Za-z0-9/_-]+\.yaml' <<<"$line" | head -n 1)
    if [[ $line =~ scaling\.sh\ .*\"([0-9 ]+)\" ]]; then
        study "$line" "$job" "${BASH_REMATCH[1]}"
    elif [[ $line == *sbatch\ --* ]]; then
        plan $(($(option --nodes "$line") * $(option --ntasks-per-node "$line") * $(option --ntasks "$line"))) "$job"
    elif [[ $line == *"vario plan"* ]]; then
        plan "$(option --ranks "$line")" "$job"
    else
        plan "$(option 'mpirun -n' "$line")" "$job"
    fi
done < <(grep -hE '(^ {4}|`|^#   ).*(scaling\.sh|(train|sweep|tune)\.sbatch|vario (plan|train)) .*\.yaml' "${pages[@]}" |
    grep -E -- '--(nodes|ntasks|ntasks-per-node|ranks)[= ][0-9]|mpirun -n [0-9]')
check "launches were found" test "$seen" -ge 15
one plan my-run.yaml --ranks 25
check "a plan of too many ranks" exits 2
check "which says how many there may be" grep -q "^vario: vario plan: --ranks: 25 ranks found, at most 24 expected" last.err
finish
