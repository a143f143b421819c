#!/usr/bin/env bash
# A rank that stands still is named within guard.stall_seconds, by another when it is the first; when it
# wakes the run goes on to the bits of one that nobody disturbed. guard.on_stall: stop ends it, and so
# does a signal.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job job.yaml straight
sets=(--set steps=200 --set checkpoint.every=20 --set log.every=5 --set eval.every=0)
launch 3 train job.yaml "${sets[@]}"
check "the straight run" exits 0
expected=$(bits straight)

main=0
ranks=()
stop_all()
{
    [ "$main" -eq 0 ] || kill -KILL "$main" "${ranks[@]}" 2>/dev/null || true
    clean_up
}
trap stop_all EXIT

# begin NAME RANKS ARGUMENT...: until it trains.
begin()
{
    local left=600
    mpirun -n "$2" "$program" train job.yaml "${sets[@]}" --set "name=$1" "${@:3}" \
        >last.out 2>last.err </dev/null &
    main=$!
    until [ "$(logged "$1")" -ge 2 ] || [ $left -eq 0 ]; do
        sleep 0.05
        left=$((left - 1))
    done
    mapfile -t ranks < <(pgrep -P "$main")
}

# said SECONDS TEXT: whether standard error says it in time.
said()
{
    local left=$(($1 * 20))
    until grep -q "$2" last.err; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.05
    done
}

end_of_run()
{
    code=0
    wait "$main" || code=$?
    main=0
}

# The seconds are the sentence's, so that a loaded machine does not matter.
stalled_in_time() { awk '/rank '"$1"' .*has not been heard of for/ { for (i = 1; i < NF; i++)
    if ($i == "for" && $(i + 2) == "s,") { exit !($(i + 1) <= 2) } }' last.err; }

begin sleeps 3 --set guard.stall_seconds=2
for rank in 2 0; do
    kill -STOP "${ranks[rank]}"
    check "rank $rank is named" said 20 "rank $rank (.*, process ${ranks[rank]}) has not been heard of"
    check "rank $rank is named within 2 s" stalled_in_time $rank
    kill -CONT "${ranks[rank]}"
    check "rank $rank is said to go on" said 20 "rank $rank goes on after"
done
check "those who wait are named" grep -q "ranks 0, 1: step [0-9]*, .*waits for\|rank 0: step [0-9]*, .*waits for" last.err
end_of_run
check "the run goes on when they wake" exits 0
check "and has the bits of one that nobody disturbed" same "$(bits sleeps)" "$expected"
check "an event tells of the stall" grep -q '"event": "stalled", "ranks": \[2\], "host": "[^"]*", "process": '"${ranks[2]}" \
    runs/sleeps/events.jsonl
check "an event tells that it woke" grep -q '"event": "woke", "ranks": \[2\]' runs/sleeps/events.jsonl

none_left()
{
    local rank
    for rank in "${ranks[@]}"; do ended "$rank" 20 || { echo "    $rank still runs"; return 1; }; done
}

begin stops 3 --set guard.stall_seconds=2 --set guard.on_stall=stop
kill -STOP "${ranks[1]}"
end_of_run
check "on_stall: stop ends the run" exits 3
check "and says why" grep -q "vario: ended (guard.on_stall): rank 1 (.*has not been heard of" last.err
check "in its events too" grep -q '"event": "stalled", "ranks": \[1\]' runs/stops/events.jsonl
check "and leaves no process" none_left

if ! $is_short; then
    begin ended 2
    kill -STOP "${ranks[1]}"
    kill -TERM "${ranks[0]}"
    end_of_run
    check "SIGTERM ends a run that cannot save" exits 3
    check "and says for whom it waited" grep -q "vario: ended (SIGTERM): rank 1 (.*not been heard of" last.err
    check "and leaves no process then" none_left
fi

# Other verbs end by the signal itself.
mpirun -n 2 "$program" bench step >last.out 2>last.err </dev/null &
main=$!
for _ in $(seq 200); do
    mapfile -t ranks < <(pgrep -P "$main" || true)
    [ ${#ranks[@]} -lt 2 ] || break
    sleep 0.05
done
sleep 0.3
kill -STOP "${ranks[1]}"
kill -TERM "${ranks[0]}"
end_of_run
check "SIGTERM ends other verbs" test "$code" -ne 0
check "and none of their processes is left" none_left
finish
