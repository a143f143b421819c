#!/usr/bin/env bash
# slurm/scaling.sh [--gather] JOB.yaml "NODES..." [SBATCH_OPTION...] [-- VARIO_OPTION...]
# How a job's steps scale: a strong study (the same step on more nodes) and a weak one (a step that
# grows with the nodes: the job's batch.microbatches are those of the first number). Submits one
# train.sbatch for each, waits for them, prints a table and draws it: scaling.csv and scaling.png in
# runs/NAME-scaling. With --gather it submits nothing and takes the runs that are there.
#
#   slurm/scaling.sh jobs/gpt2-124m-ivon.yaml "1 2 3 6" --ntasks-per-node=4 --cpus-per-task=16 --time=30
set -euo pipefail
submits=true
[ "${1:-}" != --gather ] || { submits=false; shift; }
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
job=$1
read -r -a nodes <<<"$2"
for n in "${nodes[@]}" "${nodes[0]:-}"; do
    [[ $n =~ ^[1-9][0-9]{0,6}$ ]] || {
        echo "scaling.sh: '$2' found, numbers of nodes expected, as in \"1 2 4\"" >&2
        exit 2
    }
done
shift 2
options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
[ $# -eq 0 ] || shift
# shellcheck source=slurm/common.bash
. "$(dirname "$(realpath "$0")")/common.bash"

# 30 steps, of which the first 10 warm up; nothing else is done between them.
sets=(--set steps=30 --set log.every=10 --set schedule.warmup=0 --set eval.every=0
    --set eval.batches=1 --set checkpoint.every=0 "$@")
resolved=$(resolved "$job" "${sets[@]}")
name=$(value_of name <<<"$resolved")
microbatches=$(value_of microbatches <<<"$resolved")
out=$(directory_of <<<"$resolved")-scaling

# submit STUDY NODES MICROBATCHES: prints the job's number.
submit()
{
    rm -rf "${out:?}/$1-$2"
    sbatch --parsable --job-name="$1-$2" --output="${out//%/%%}/%x.log" --nodes="$2" "${options[@]}" \
        "$slurm/train.sbatch" "$job" "${sets[@]}" --set "output=$out" --set "name=$1-$2" \
        --set "batch.microbatches=$3" | cut -d ';' -f 1
}

# check_ranks: nothing is queued that vario would refuse after the wait. Ranks that SLURM counts in
# another way than by --ntasks-per-node are left to the jobs.
check_ranks()
{
    local n each
    each=$(sed -n 's/.*--ntasks-per-node[= ]\([0-9]\{1,\}\).*/\1/p' <<<"${options[*]}")
    [ -n "$each" ] || return 0
    for n in "${nodes[@]}"; do
        plan "$((n * each))" "$microbatches"
        plan "$((n * each))" $((microbatches * n / nodes[0]))
    done
}

# plan RANKS MICROBATCHES: ends the script where a step cannot be shared out so.
plan() { "${vario[@]}" plan "$job" "${sets[@]}" --set "batch.microbatches=$2" --ranks "$1" >/dev/null || exit; }

submit_all()
{
    local n left ids=""
    check_ranks
    mkdir -p "$out"
    for n in "${nodes[@]}"; do
        ids+=,$(submit strong "$n" "$microbatches")
        ids+=,$(submit weak "$n" $((microbatches * n / nodes[0])))
    done
    echo "waiting for jobs ${ids#,} (--gather makes the table at any time)"
    # A controller that does not answer is no end of the jobs.
    while left=$(squeue --noheader --jobs="${ids#,}" 2>&1) || ! grep -q 'Invalid job id' <<<"$left"; do
        [ -n "$left" ] || break
        sleep 10
    done
    rm -rf "$out"/*/step-* # nobody wants the weights
}

# measure STUDY NODES: a row without efficiency, from the steps after the first logged ones.
measure()
{
    local run=$out/$1-$2 ranks
    ranks=$(sed -n 's/.*"ranks": \([0-9]*\).*/\1/p' "$run/events.jsonl" | tail -n 1)
    awk -F, -v study="$1" -v nodes="$2" -v ranks="$ranks" '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        NR == 2 { steps = $at["step"]; tokens = $at["tokens"]; seconds = $at["seconds"]; next }
        $at["seconds"] > seconds { n++; wait += $at["comm_fraction"]; bytes += $at["bytes_sent"]; last = $0 }
        END {
            if (!n) exit 1
            split(last, end)
            steps = end[at["step"]] - steps
            tokens = end[at["tokens"]] - tokens
            seconds = end[at["seconds"]] - seconds
            printf "%s,%d,%d,%d,%.6g,%.6g,%.3f,%.6g\n", study, nodes, ranks, tokens / steps,
                   seconds / steps, tokens / seconds, wait / n, bytes / n / 1e6
        }' <"$run/metrics.csv"
}

gather()
{
    local study n
    echo "study,nodes,ranks,tokens_a_step,seconds_a_step,tokens_per_second,wait_fraction,mb_sent_a_step,efficiency"
    for study in strong weak; do
        for n in "${nodes[@]}"; do
            measure "$study" "$n" 2>/dev/null ||
                echo "scaling.sh: $out/$study-$n: 20 logged steps expected, fewer found (see its .log)" >&2
        done | awk -F, 'NR == 1 { first = $6 / $2 } { printf "%s,%.3f\n", $0, $6 / $2 / first }'
    done
}

draw()
{
    local ticks ideal # tokens/s of a node in the weak study's first row
    ticks=$(IFS=,; echo "${nodes[*]}")
    ideal=$(awk -F, '$1 == "weak" { print $6 / $2; exit }' <"$out/scaling.csv")
    "${slurm%/*}/scripts/plot" "$out/scaling.png" 1000 420 "table=$out/scaling.csv" "name=$name" <<G
set datafile separator ','
of(study, n) = strcol(1) eq study ? column(n) : NaN
set multiplot layout 1,2 title 'Scaling of '.name noenhanced
set logscale x 2; set xtics ($ticks); set xrange [${nodes[0]} * 0.85:${nodes[-1]} * 1.18]; set xlabel 'nodes'
set key bottom right; set logscale y 2; set format y '%.0s%c'; set ylabel 'tokens/s'
plot ${ideal:-NaN} * x with lines dashtype 2 lc rgb grey title 'ideal', \\
     table using (of('weak', 2)):6 with linespoints ls 2 title 'weak: a step that grows', \\
     table using (of('strong', 2)):6 with linespoints ls 1 title 'strong: the same step'
set key bottom left; unset logscale y; set format y '%g%%'; set yrange [0:110]; set ylabel 'efficiency'
plot 100 with lines dashtype 2 lc rgb grey title 'ideal', \\
     table using (of('weak', 2)):(100 * \$9) with linespoints ls 2 title 'weak', \\
     table using (of('strong', 2)):(100 * \$9) with linespoints ls 1 title 'strong'
G
}

if $submits; then submit_all; fi
gather >"$out/scaling.csv"
awk -F, '{ printf "%-7s %5s %6s %14s %15s %18s %14s %15s %11s\n", $1, $2, $3, $4, $5, $6, $7, $8, $9 }' <"$out/scaling.csv"
draw
