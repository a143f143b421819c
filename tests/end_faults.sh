#!/usr/bin/env bash
# Calls on files fail (EIO, ENOSPC, short writes; tests/faults.c), every n-th of a run with
# VARIO_FAULTS=n: a run goes on as if nothing was, or ends in one sentence with code 3; gone
# on with it has the bits of one that had no faults. A call that does not come back is named.
# VARIO_SEED repeats a choice.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
faults=${VARIO_FAULTS_LIBRARY:-$(dirname "$program")/tests/faults.so}
[ -r "$faults" ] || { echo "$faults: the library of faults expected, none found"; exit 1; }

stride=${VARIO_FAULTS:-37}
seed=${VARIO_SEED:-$(($(date +%s) % 32768))}
RANDOM=$seed
echo "VARIO_SEED=$seed"
export FAULTS_UNDER=$work/runs/ FAULTS_LOG=$work/faults.log

make_data
write_job job.yaml whole
sets=(--set steps=8 --set checkpoint.every=4 --set log.every=4 --set eval.every=0 --quiet)
one train job.yaml "${sets[@]}"
check "the run without faults" exits 0
expected=$(bits whole)

# train RANKS NAME: with faults where FAULTS_KIND says so.
train()
{
    code=0
    if [ "$1" -eq 1 ]; then
        LD_PRELOAD=$faults timeout --kill-after=10 "$patience" "$program" train job.yaml "${sets[@]}" \
            --set "name=$2" >last.out 2>last.err </dev/null || code=$?
    else
        timeout --kill-after=10 "$patience" mpirun -n "$1" env LD_PRELOAD="$faults" "$program" train \
            job.yaml "${sets[@]}" --set "name=$2" >last.out 2>last.err </dev/null || code=$?
    fi
}

# ends_well: done, or one sentence and code 3.
ends_well()
{
    case $code in
        0) return 0 ;;
        3) same "$(grep '^vario: ' last.err | grep -cv '^vario: warning: ')" 1 ;;
        *) echo "    exit code $code after $(cat "$FAULTS_LOG")"; false ;;
    esac
}

injected=0
ended=0
for kind in eio enospc short; do
    at=$((stride == 1 ? 1 : 1 + RANDOM % stride))
    while true; do
        ranks=$((1 + RANDOM % 4 / 3))
        rm -rf runs/faulty "$FAULTS_LOG"
        FAULTS_KIND=$kind FAULTS_AT=$at FAULTS_COUNT=$((1 + RANDOM % 2 * 1000)) train $ranks faulty
        [ -s "$FAULTS_LOG" ] || break
        injected=$((injected + 1))
        [ "$code" -eq 0 ] || ended=$((ended + 1))
        place="$kind at call $at, $ranks ranks: $(head -n 1 "$FAULTS_LOG" | sed "s|$work/||")"
        check "$place" ends_well
        launch 1 train job.yaml "${sets[@]}" --set name=faulty
        check "$place, gone on with" exits 0
        check "$place, bits" same "$(bits faulty)" "$expected"
        at=$((at + stride))
    done
done
echo "$injected faults, $ended of them ended the run, all others were of no account"
check "faults were injected" test "$injected" -ge 3

# Three seconds in a call on a file.
rm -rf runs/faulty "$FAULTS_LOG"
sets+=(--set guard.stall_seconds=1)
FAULTS_KIND=hang FAULTS_SECONDS=3 FAULTS_CALL=rename FAULTS_AT=1 train 2 faulty
check "a call that hangs ends no run" exits 0
check "it is named with the file" grep -q "has stood still for .* at: .*, renames .*runs/faulty/" last.err
check "and its end is said" grep -q "goes\? on after" last.err
check "and its bits are the same" same "$(bits faulty)" "$expected"
finish
