#!/usr/bin/env bash
# Ranks that share processors are told of once, where other warnings go.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job job.yaml apart
sets=(--set steps=5 --set eval.batches=1)
processor=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
warnings() { cat last.out last.err | grep -c "share 1 processor" || true; }

# shared RANKS ARGUMENT...: launch with all ranks on one processor.
shared()
{
    local mine
    mine=$(taskset -p $$ | sed 's/.*: *//')
    taskset -cp "$processor" $$ >/dev/null
    launch "$@"
    taskset -p "$mine" $$ >/dev/null
}

launch 1 train job.yaml "${sets[@]}"
check "a rank of its own" exits 0
check "is not warned of" same "$(warnings)" 0
shared 2 train job.yaml "${sets[@]}" --set name=shared
check "ranks that share a processor train" exits 0
check "they are warned of once" same "$(warnings)" 1
check "not on stderr" test ! -s last.err
check "the warning is an event" grep -q '"warning".*share 1 processor' runs/shared/events.jsonl
check "the bits are those of one rank" same "$(bits shared)" "$(bits apart)"
shared 2 train job.yaml "${sets[@]}" --set name=quiet --quiet
check "--quiet silences it" test ! -s last.out -a ! -s last.err
shared 2 eval runs/shared --json
check "eval is not disturbed" same "$(wc -l <last.out) $(wc -c <last.err)" "1 0"
finish
