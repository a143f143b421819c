#!/usr/bin/env bash
# What MPI-IO left behind must stop nobody. Not part of ctest: it takes minutes, and needs root, for a
# /dev/shm of its own.
#
#   tests/stress_checkpoints.sh PROGRAM [CHECKPOINTS]
#
# 1. /dev/shm holds a stale semaphore of every file's name, as Open MPI's MPI-IO leaves it when a
#    process dies: every verb works on 1 to 3 ranks, as the user whose semaphores they are and as one
#    who may not write to them.
# 2. CHECKPOINTS (5000) checkpoints are written under three busy loops, on 2 and 3 ranks, with kills
#    (-9) of one or all ranks at random moments: no run gets stuck, and each goes on from where the one
#    before it was. VARIO_SEED repeats a sequence of moments.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" -eq 0 ] || { echo "$0: root expected" >&2; exit 2; }
[ -n "${VARIO_UNSHARED:-}" ] || VARIO_UNSHARED=1 exec unshare --mount --propagation private "$0" "$@"
. "$here/end_common.bash"
wanted=${2:-5000}
seed=${VARIO_SEED:-$(($(date +%s) % 32768))}
RANDOM=$seed
echo "VARIO_SEED=$seed"
mount -t tmpfs tmpfs /dev/shm

loops=()
main=0
stop_all()
{
    [ ${#loops[@]} -eq 0 ] || kill -KILL "${loops[@]}" 2>/dev/null || true
    [ "$main" -eq 0 ] || kill -KILL "$main" 2>/dev/null || true
    clean_up
}
trap stop_all EXIT

# ---- stale semaphores ----

# A semaphore of glibc is 32 bytes; this one has the value 0, so that who waits for it waits for ever.
names=(model.safetensors posterior.safetensors optimizer.safetensors swag.safetensors state.json config.json generation_config.json job.yaml metrics.csv events.jsonl vocab.json
    merges.txt tokenizer.json evaluation.json train.bin val.bin gpt2.bin)
leave_semaphores()
{
    local name
    for name in "${names[@]}"; do
        printf '\0\0\0\0\0\0\0\0\200\0\0\0' | cat - /dev/zero | head -c 32 >"/dev/shm/sem.OMPIO_$name"
    done
    chmod 644 /dev/shm/sem.OMPIO_*
}

make_data 20000
write_job job.yaml run
sed -i 's/^steps: .*/steps: 6/; s/every: 10, keep/every: 3, keep/' job.yaml
cp "$program" "$work/vario" # where another user finds it, too
program=$work/vario
chmod 755 "$work"

# as USER RANKS ARGUMENT...: launch as that user, in a folder of its own.
as()
{
    local user=$1 ranks=$2
    shift 2
    code=0
    HOME=$work/$user OMPI_MCA_orte_tmpdir_base=$work/$user XDG_CACHE_HOME=$work/$user/cache \
        timeout --kill-after=1 60 setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups \
        mpirun -n "$ranks" "$program" "$@" >"$work/last.out" 2>"$work/last.err" </dev/null || code=$?
    [ "$code" -eq 0 ] || { echo "    exit code 0 expected, $code found"; false; }
}

verbs_of()
{
    local user=$1 ranks=$2 runs=$work/$1/$2
    mkdir -p "$runs"
    chown -R "$user" "$work/$user"
    check "$user: train on $ranks" as "$user" "$ranks" train job.yaml --quiet --set "output=$runs"
    check "$user: eval on $ranks" as "$user" "$ranks" eval "$runs/run" --batches 2
    check "$user: generate on $ranks" as "$user" "$ranks" generate "$runs/run" --tokens 5
    check "$user: export on $ranks" as "$user" "$ranks" export "$runs/run" --out "$runs/model"
    check "$user: import on $ranks" as "$user" "$ranks" import "$runs/model" --out "$runs/imported"
    check "$user: merge on $ranks" as "$user" "$ranks" merge "$runs/run" "$runs/run" --out "$runs/merged"
    check "$user: ood on $ranks" as "$user" "$ranks" ood "$runs/run" --out data/train.bin --batches 2
    check "$user: sensitivity on $ranks" as "$user" "$ranks" sensitivity "$runs/run" --range 0-3
    check "$user: curvature on $ranks" as "$user" "$ranks" curvature "$runs/run" --batches 4 --out "$runs/h"
}

leave_semaphores
for user in root nobody; do
    for ranks in 1 2 3; do verbs_of "$user" "$ranks"; done
done
echo "stale semaphores: $passed of $((passed + failed)) launches worked"
rm -f /dev/shm/sem.OMPIO_*

# ---- kills ----

for loop in 1 2 3; do
    (while :; do :; done) &
    loops[loop]=$!
    disown $!
done

written() { { cat runs/stress/events.jsonl 2>/dev/null || true; } | grep -c '"event": "checkpoint"' || true; }

# wait_written COUNT: false when no checkpoint comes for a minute.
wait_written()
{
    local now before=-1 left=1200
    while running "$main"; do
        now=$(written)
        [ "$now" -lt "$1" ] || return 0
        [ "$now" -eq "$before" ] || left=1200
        before=$now
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.05
    done
}

restarts=0
stuck=0
killed=0
ranks=2
rm -rf runs/stress
while [ "$(written)" -lt "$wanted" ]; do
    restarts=$((restarts + 1))
    count=$(written)
    mpirun -n "$ranks" "$program" train job.yaml --quiet --set name=stress --set steps=1000000 \
        --set schedule.kind=constant --set checkpoint.every=1 --set eval.every=0 >last.out 2>last.err </dev/null &
    main=$!
    if ! wait_written $((count + 20 + RANDOM % 100)); then
        stuck=$((stuck + 1))
        echo "stuck: restart $restarts on $ranks ranks: $(tail -n 1 last.err)"
    elif ! running "$main"; then
        failed=$((failed + 1))
        echo "FAILED: restart $restarts ended: $(tail -n 1 last.err)"
    fi
    sleep "$(printf '0.%03d' $((RANDOM % 100)))" # anywhere in a checkpoint
    mapfile -t processes < <(pgrep -P "$main" || true)
    if [ ${#processes[@]} -gt 0 ] && [ $((RANDOM % 2)) -eq 0 ]; then
        kill -KILL "${processes[@]}" 2>/dev/null || true
    elif [ ${#processes[@]} -gt 0 ]; then
        kill -KILL "${processes[RANDOM % ${#processes[@]}]}" 2>/dev/null || true
    fi
    killed=$((killed + 1))
    for process in "$main" "${processes[@]}"; do
        ended "$process" 30 && continue
        stuck=$((stuck + 1))
        echo "stuck: process $process of restart $restarts lives on after the kill"
        kill -KILL "$process" 2>/dev/null || true
    done
    wait "$main" 2>/dev/null || true
    main=0
    ranks=$((5 - ranks))
    [ $((stuck + failed)) -lt 20 ] || break
done
kill -KILL "${loops[@]}" 2>/dev/null || true
loops=()
echo "kills: $(written) checkpoints on 2 and 3 ranks, $killed kills, $stuck stuck," \
    "$(find /dev/shm -name 'sem.*' | wc -l) semaphores left"
check "no run got stuck" same "$stuck" 0
from=$(last_checkpoint stress)
launch 2 train job.yaml --quiet --set name=stress --set "steps=$((10#${from##*-} + 3))" \
    --set schedule.kind=constant --set eval.every=0
check "the run goes on to its end" exits 0
finish
