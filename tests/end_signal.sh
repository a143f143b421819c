#!/usr/bin/env bash
# SIGUSR1 and the end of a SLURM allocation stop a run with a checkpoint of its last whole step and
# exit code 75; run again it ends with the bits of a run that nobody stopped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job job.yaml straight
steps=300
! $is_short || steps=60
sets=(--set "steps=$steps" --set checkpoint.every=1000 --set eval.every=100)
launch 2 train job.yaml "${sets[@]}"
check "the straight run" exits 0
expected=$(bits straight)

# stopped NAME [LEAST]: 75, and a checkpoint of LEAST or more steps, but not of the last one.
stopped()
{
    local directory least=${2:-1}
    exits 75 || return 1
    directory=$(last_checkpoint "$1")
    [ -n "$directory" ] || { echo "    no checkpoint"; return 1; }
    [ "$((10#${directory##*-}))" -ge "$least" ] && [ "$((10#${directory##*-}))" -lt $steps ]
}

ends_like_straight()
{
    local from
    from=$(last_checkpoint "$1")
    launch "$2" train job.yaml "${sets[@]}" --set "name=$1"
    check "$1 finishes" exits 0
    check "$1 goes on from where it was stopped" same "$(resumed_step)" "$((10#${from##*-}))"
    check "$1 has the bits of the straight run" same "$(bits "$1")" "$expected"
    check "$1 logs every step once" same "$(column "$1" step)" "$(column straight step)"
}

# begin NAME RANKS [OPTION...]: mpirun with these options, until steps are logged. $process is timeout's,
# which passes signals on.
begin()
{
    local name=$1 ranks=$2 left=600
    shift 2
    timeout --kill-after=10 "$patience" mpirun "$@" -n "$ranks" "$program" train job.yaml "${sets[@]}" \
        --set "name=$name" >last.out 2>last.err </dev/null &
    process=$!
    until [ "$(logged "$name")" -ge 3 ] || [ $left -eq 0 ]; do
        sleep 0.02
        left=$((left - 1))
    done
}

# signalled NAME RANKS SIGNAL: to mpirun, which passes it on, once steps are logged.
signalled()
{
    local name=$1 process
    begin "$name" "$2"
    kill "-$3" "$(pgrep -P "$process")"
    code=0
    wait "$process" || code=$?
    check "$3 stops $name" stopped "$name"
    check "$name tells of it in events.jsonl" grep -qi "signal\|stopped" "runs/$name/events.jsonl"
}

signalled usr1-on-3 3 USR1
ends_like_straight usr1-on-3 4
if ! $is_short; then
    signalled usr1-on-1 1 USR1
    ends_like_straight usr1-on-1 2
    signalled usr2-on-4 4 USR2
    ends_like_straight usr2-on-4 1
fi

# Without mpirun in between, SIGTERM, SIGINT and SIGHUP do the same. A shell lets what it starts in the
# background ignore SIGINT, nohup lets it ignore SIGHUP; env gives them back.
for signal in TERM INT HUP; do
    timeout --kill-after=10 "$patience" env --default-signal=INT,HUP "$program" train job.yaml \
        "${sets[@]}" --set name=$signal >last.out 2>last.err </dev/null &
    process=$!
    until [ "$(logged $signal)" -ge 3 ] || ! running $process; do
        sleep 0.02
    done
    kill -$signal "$(pgrep -P $process | head -n 1)"
    code=0
    wait $process || code=$?
    check "SIG$signal stops a run" stopped $signal
    check "the stop by SIG$signal is said" grep -q "stopped by SIG$signal" last.err
done
ends_like_straight TERM 3

# Who reads the output may go: the run goes on to its end.
code=0
timeout --kill-after=10 "$patience" "$program" train job.yaml "${sets[@]}" --set name=pipe \
    --set steps=20 --set log.every=1 2>last.err </dev/null | head -n 1 >last.out
check "a closed pipe is no end" same "${PIPESTATUS[0]}" 0
check "a closed pipe is told of" grep -q "standard output: .*goes on without it" last.err
check "a closed pipe leaves the run whole" same "$(basename "$(last_checkpoint pipe)")" step-00000020

# The allocation ends within the margin: stop at once. A margin that is far away changes nothing.
export SLURM_JOB_END_TIME=$(($(date +%s) + 90))
launch 2 train job.yaml "${sets[@]}" --set name=slurm --set checkpoint.margin_seconds=99
check "near the end of the allocation" stopped slurm 0
export SLURM_JOB_END_TIME=$(($(date +%s) + 100000))
launch 3 train job.yaml "${sets[@]}" --set name=slurm --set checkpoint.margin_seconds=99
check "far from the end of the allocation" exits 0
check "slurm has the bits of the straight run" same "$(bits slurm)" "$expected"
steps=1000000
export SLURM_JOB_END_TIME=$(($(date +%s) + 104))
launch 2 train job.yaml --set "steps=$steps" --set name=later --set checkpoint.margin_seconds=99 \
    --set checkpoint.every=100000 --set log.every=1000
check "the end of the allocation comes near during the run" stopped later
export SLURM_JOB_END_TIME=soon
launch 2 train job.yaml "${sets[@]}" --set name=nonsense --set steps=10
check "an end that is no number stops nothing or is refused" test "$code" -eq 0 -o "$code" -eq 2

# SIGTERM to mpirun itself: it sends its ranks one after a while, kills them after as long again and ends
# with a code of its own. A run is saved where docs/checkpoints.md is followed.
if ! $is_short; then
    option=$(sed -n 's/^ *mpirun \(--mca [a-z_]*sigkill_timeout\) [0-9]* .*vario train .*/\1/p' "$here/../docs/checkpoints.md")
    check "docs/checkpoints.md has a launch for SIGTERM to mpirun" test -n "$option"
    unset SLURM_JOB_END_TIME
    sets+=(--set "steps=$steps" --set checkpoint.every=100000)
    # shellcheck disable=SC2086
    begin mpirun 2 ${option:+$option 5}
    kill -TERM "$(pgrep -P "$process")"
    code=0
    wait "$process" || code=$?
    check "SIGTERM ends mpirun with its own code" exits 1
    check "and the run stops" grep -q '"event": "stopped"' runs/mpirun/events.jsonl
    check "with a checkpoint" test -n "$(last_checkpoint mpirun)"
fi
finish
