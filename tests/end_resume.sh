#!/usr/bin/env bash
# Going on where something was lost, damaged, renamed or full; and what is refused before a run begins
# in a place that nobody meant.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
make_data
write_job job.yaml a
says() { cat last.out last.err | tr '\n' ' ' | grep -q -- "$1"; }
steps_of() { column "$1" step | tr '\n' ' '; }

one train job.yaml --set steps=20 --set log.every=2 --set eval.every=0
check "a run" exits 0

# Renamed, its job.yaml torn, a row of metrics.csv damaged.
mv runs/a runs/b
head -c 30 runs/b/job.yaml >torn
cp torn runs/b/job.yaml
sed -i '4s/^6,/x,/' runs/b/metrics.csv
launch 2 train job.yaml --set name=b --set steps=30 --set log.every=2 --set eval.every=0
check "goes on" exits 0
check "from its last step" same "$(resumed_step)" 20
check "it says which job it took" says "job of [^ ]*runs/b/step-00000020/state.json is taken, and job.yaml"
check "it says that it was renamed" says "its name was a, and it goes on as b"
check "it names the damaged row" says "metrics.csv: 1 damaged row found.*line 4"
check "events say so" test "$(grep -c '"renamed", "from": "a", "to": "b"\|state.json is taken\|damaged row' \
    runs/b/events.jsonl)" -eq 3
check "the other rows stay" same "$(steps_of b)" "2 4 8 10 12 14 16 18 20 22 24 26 28 30 "
check "the damaged one is kept" grep -q '^x,' runs/b/metrics.csv.damaged
check "job.yaml is whole again" grep -q '^name: "b"' runs/b/job.yaml

# The job.yaml of a run that was moved names another place.
mkdir elsewhere
mv runs/b elsewhere/c
one train elsewhere/c/job.yaml --set steps=40
check "a moved run's job.yaml" exits 2
check "it says how to go on" says "--set name=c --set output=$(realpath elsewhere) expected"
check "no other run was begun" test ! -e runs/b
one train elsewhere/c/job.yaml --set steps=40 --set name=c --set output=elsewhere --set eval.every=0
check "a moved run goes on" exits 0
check "from where it was" same "$(resumed_step)" 30

# Other verbs need job.yaml no more than train does, and a result that cannot be printed is a failure.
rm elsewhere/c/job.yaml
code=0
timeout --kill-after=10 $patience "$program" eval elsewhere/c --json >/dev/full 2>last.err || code=$?
: >last.out
check "eval without job.yaml, to a full device" exits 3
check "it says which job it took" says "job.yaml: not found; the job of [^ ]*/state.json is taken"
check "it names standard output" says "vario: standard output: "
for words in schema --help "train --help=manual"; do
    code=0
    # shellcheck disable=SC2086
    "$program" $words >/dev/full 2>last.err || code=$?
    check "'$words' to a full device" exits 3
    check "'$words' names standard output" says "vario: standard output: "
done
code=0
"$program" schema >&- 2>last.err || code=$?
check "schema to a closed output" exits 3

# A path that only a shell understands, anywhere.
refused() { exits 2 && says "'$1' found, a path without ~ and \$NAME expected"; }
one plan '~/job.yaml'
check "~ in a job's path" refused '~/job.yaml'
one prepare text.txt --out '$HOME/data'
check "a variable in --out" refused '\$HOME/data'
one train job.yaml --set output='~/runs'
check "~ in a job" refused '~/runs'
check "no such folder was made" test ! -e '~' -a ! -e '$HOME'

# The disk fills up and empties again: rows, events and the run go on. The limit is the process's.
one_line() { same "$(grep -c "$1" last.out)" 1; }
wait_for_line()
{
    local left=$((patience * 20))
    until grep -q "$1" last.out; do
        running "$process" && [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.05
    done
}
{ "$program" train job.yaml --set name=full --set steps=1000000 --set log.every=1 \
    --set schedule.kind=constant --set eval.every=0 --set checkpoint.every=50 \
    --set checkpoint.on_error=continue 2>&1 </dev/null & echo $! >process; wait $! || echo $? >code; } |
    cat >last.out &
until [ -s process ]; do sleep 0.02; done
process=$(cat process)
: >last.err
while running "$process" && [ -z "$(last_checkpoint full)" ]; do sleep 0.02; done
prlimit --pid "$process" --fsize=100:
check "a full disk is said" wait_for_line "metrics.csv.*rows wait until it can be"
check "of checkpoints too" wait_for_line "checkpoint not written"
prlimit --pid "$process" --fsize=unlimited:
check "and that there is room again" wait_for_line "metrics.csv is written again"
kill -TERM "$process"
wait
code=$(cat code)
check "it stops with a checkpoint" exits 75
check "it was said once" one_line "rows wait until it can be"
check "no row is lost" same "$(column full step | awk '$1 != NR' | wc -l)" 0
check "events that waited are there" grep -q 'rows wait until it can be' runs/full/events.jsonl
finish
