#!/usr/bin/env bash
# Ranks are killed at random moments and the run goes on from its last checkpoint on another number
# of ranks; in the end it has the bits of a run that nobody disturbed. No rank survives its peers.
# VARIO_SEED repeats a sequence of moments.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

kills=20
steps=400
! $is_short || { kills=3; steps=60; }
seed=${VARIO_SEED:-$(($(date +%s) % 32768))}
RANDOM=$seed
echo "VARIO_SEED=$seed"

make_data
write_job job.yaml undisturbed
sets=(--set "steps=$steps" --set "eval.every=100")
launch 2 train job.yaml "${sets[@]}"
check "the undisturbed run" exits 0
expected=$(bits undisturbed)
[ "$code" -eq 0 ] || finish

main=0 # process of the mpirun under way
stop_all()
{
    [ "$main" -eq 0 ] || kill -KILL "$main" 2>/dev/null || true
    clean_up
}
trap stop_all EXIT

# begin RANKS: start the run killed/ in the background.
begin()
{
    rm -f last.out last.err # of the restart before: they are looked into below
    mpirun -n "$1" "$program" train job.yaml "${sets[@]}" --set name=killed "${extra[@]}" \
        >last.out 2>last.err </dev/null &
    main=$!
}

# wait_for SECONDS COMMAND...: until it succeeds or the run has ended.
wait_for()
{
    local left=$(($1 * 20))
    shift
    until "$@"; do
        running "$main" || return 1
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.05
    done
}

is_done() { [ "$(basename "$(last_checkpoint killed)")" = "$(printf 'step-%08d' "$steps")" ]; }
has_checkpoint() { [ -n "$(last_checkpoint killed)" ]; }
none_running()
{
    local process
    for process in "$@"; do
        ended "$process" 10 || { echo "    process $process still runs"; return 1; }
    done
}

# all_end PIDS: mpirun and the other ranks end within seconds; whoever does not is ended here.
all_end()
{
    local result=0
    ended "$main" 30 || { echo "    mpirun still runs 30 s after a rank was killed"; result=1; }
    # shellcheck disable=SC2086
    none_running $1 || result=1
    # shellcheck disable=SC2086
    [ "$result" -eq 0 ] || kill -KILL "$main" $1 2>/dev/null || true
    return "$result"
}

ranks=2
killed=0
resumed=0
rounds=0
extra=()
while [ "$killed" -lt "$kills" ] && [ "$rounds" -lt $((4 * kills)) ]; do
    rounds=$((rounds + 1))
    before=$(last_checkpoint killed)
    begin "$ranks"
    if [ -z "$before" ]; then
        wait_for 60 has_checkpoint || true
    else
        wait_for 60 grep -qs "resumed from step" last.out last.err || true
    fi
    sleep "$(printf '0.%03d' $((RANDOM % 500)))"
    mapfile -t processes < <(pgrep -P "$main" || true)
    if [ ${#processes[@]} -eq "$ranks" ] &&
        kill -KILL "${processes[RANDOM % ranks]}" 2>/dev/null; then
        killed=$((killed + 1))
        check "all ranks end after kill $killed of $ranks ranks" all_end "${processes[*]}"
        code=0
        wait "$main" || code=$?
        main=0
        if [ "$code" -eq 0 ] && is_done; then
            killed=$((killed - 1)) # it came after the end
        else
            check "kill $killed is seen in the exit code" test "$code" -ne 0
        fi
    else
        code=0
        ended "$main" 60 || kill -KILL "$main"
        wait "$main" || code=$?
        main=0
        check "a run that was not hit in time is done" exits 0
    fi
    if [ -n "$before" ]; then
        number=$(resumed_step killed)
        check "restart $rounds goes on from step ${before##*-}" same "${number:-none}" \
            "$((10#${before##*-}))"
        resumed=$((resumed + 1))
    fi
    # Finished, or so close that the next kill would come too late: compare and begin again.
    if is_done; then
        check "bits after $killed kills" same "$(bits killed)" "$expected"
        rm -rf runs/killed
    fi
    ranks=$((1 + (ranks + RANDOM % 3) % 4)) # another number than before
    extra=(--set "parallel.shard=$([ $((RANDOM % 2)) -eq 0 ] && echo gradients || echo parameters)")
done
check "$kills ranks were killed, $killed found" test "$killed" -eq "$kills"
check "most restarts went on from a checkpoint" test "$resumed" -ge $((kills / 2))

if [ -d runs/killed ]; then
    launch "$ranks" train job.yaml "${sets[@]}" --set name=killed
    check "the last restart" exits 0
    check "bits at the end" same "$(bits killed)" "$expected"
    check "no step is logged twice" same "$(column killed step | sort | uniq -d)" ""
    check "the log has the steps of the undisturbed run" same "$(column killed step)" \
        "$(column undisturbed step)"
    check "no leftovers of killed writers" same \
        "$(find runs/killed -maxdepth 1 -type d ! -name 'step-*' ! -path runs/killed)" ""
fi
finish
