#!/usr/bin/env bash
# The disk fills up in the middle of a run. checkpoint.on_error stop: exit code 3, the last whole
# checkpoint is kept and the run goes on from it once there is room; continue: a warning, and the
# run goes on to its end. The disk is a small tmpfs; without the right to mount one, a limit on the
# size of files stands in for it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "$(id -u)" -ne 0 ] && [ -z "${VARIO_UNSHARED:-}" ] && unshare -rm true 2>/dev/null; then
    VARIO_UNSHARED=1 exec unshare -rm "$0" "$@" # where a user may mount
fi
. "$here/end_common.bash"

make_data
write_job job.yaml run
mkdir runs
mounted=false
unmount()
{
    ! $mounted || umount "$work/runs" 2>/dev/null || umount -l "$work/runs"
    clean_up
}
trap unmount EXIT
trap '' XFSZ # a write past the limit then fails as one to a full disk does
if mount -t tmpfs -o size=6m tmpfs "$work/runs" 2>/dev/null; then mounted=true; fi

# fill PROCESS: room for the log but not for the largest file of a checkpoint (137 KB) any more.
fill()
{
    local free rank
    if $mounted; then
        free=$(df --output=avail -k runs | tail -n 1)
        # The run may take what is left first.
        dd if=/dev/zero of=runs/ballast bs=1k count=$((free - 64)) 2>/dev/null || true
        return
    fi
    for rank in $(pgrep -P "$(pgrep -P "$1")"); do prlimit --pid "$rank" --fsize=100000 || true; done
}
make_room() { rm -f runs/ballast; }

# run_out RANKS NAME OVERRIDE...: train, with room for the first checkpoints only.
run_out()
{
    local ranks=$1 name=$2 process
    shift 2
    timeout --kill-after=10 "$patience" mpirun -n "$ranks" "$program" train job.yaml \
        --set "name=$name" --set schedule.kind=constant --set steps=2000 \
        "$@" >last.out 2>last.err </dev/null &
    process=$!
    while running "$process" && [ -z "$(last_checkpoint "$name")" ]; do sleep 0.02; done
    fill "$process"
    code=0
    wait "$process" || code=$?
}

goes_on()
{
    local from
    from=$(last_checkpoint "$1")
    from=$((10#${from##*-}))
    launch 3 train job.yaml --set "name=$1" --set schedule.kind=constant --set "steps=$((from + 20))"
    check "$1 goes on" exits 0
    check "$1 goes on from step $from" same "$(resumed_step)" "$from"
    check "$1 ends with its last step" same "$(basename "$(last_checkpoint "$1")")" \
        "$(printf 'step-%08d' $((from + 20)))"
}
complains() { cat last.out last.err | grep -qi "\(vario\|warning\): .*\(step-\|checkpoint\|safetensors\)"; }
whole() { [ -s "$(last_checkpoint "$1")/state.json" ]; }
no_leftovers()
{
    same "$(find "runs/$1" -mindepth 1 -maxdepth 1 -type d ! -name 'step-*')" ""
}

for ranks in 1 3; do
    $is_short && $mounted && [ $ranks -eq 1 ] && continue
    $mounted || [ $ranks -eq 1 ] || continue # a limit kills a rank that begins to write beyond it
    run_out $ranks stop-$ranks --set checkpoint.on_error=stop
    check "stop on $ranks ranks" exits 3
    check "stop on $ranks ranks says what is wrong" complains
    check "stop on $ranks ranks keeps a whole checkpoint" whole stop-$ranks
    check "stop on $ranks ranks leaves no torn checkpoint" no_leftovers stop-$ranks
    make_room
    goes_on stop-$ranks
    rm -rf runs/stop-$ranks
done

run_out "$($mounted && echo 2 || echo 1)" continue --set checkpoint.on_error=continue --set steps=120
check "continue goes on to the end" exits 0
check "continue warns" complains
check "continue has an event of it" grep -qi "checkpoint" runs/continue/events.jsonl
check "continue keeps a whole checkpoint" whole continue
check "continue leaves no torn checkpoint" no_leftovers continue
check "continue trains to the last step" same "$(column continue step | tail -n 1)" 120
make_room
goes_on continue
rm -rf runs/continue

# Too little room from the start is found before anything is computed.
if $mounted; then
    fill none
    launch 2 train job.yaml --set name=full
    check "no room from the start" exits 3
    check "no room from the start is one sentence" same "$(grep -c '^vario: ' last.err)" 1
    check "nothing was trained" same "$(last_checkpoint full)" ""
    make_room
fi
finish
