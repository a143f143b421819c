#!/usr/bin/env bash
# vario tune: the same table whoever makes the runs and however often they are killed; nothing is
# computed twice; runs that diverge, refusals, signals, a time that is over.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data 6000
write_job job.yaml small adamw
sed -i -e 's/n_layer: 2/n_layer: 1/' -e 's/^steps:.*/steps: 18/' -e 's/^schedule:.*/schedule: {kind: cosine, peak: 1.0e-3, warmup: 2}/' \
    -e 's/^eval:.*/eval: {every: 9, batches: 4}/' -e 's/^output:.*/output: runs/' job.yaml
sweep=(tune job.yaml --key schedule.peak=1e-4:1e-1:log --runs 4 --first 6)

# table FOLDER: without times
table() { cut -d, -f 1-7,9 "runs/$1/tune.csv"; }
# starts_of FOLDER: from which steps its runs were started, and how often
starts_of() { grep -hE '"event": "(started|resumed)"' "runs/$1"/*/events.jsonl | sed 's/.*"step": \([0-9]*\),.*/\1/' | sort | uniq -c | tr -s ' \n' ' '; }

one "${sweep[@]}" --jobs 1 --best best.yaml
check "a tuning ends" exits 0
expected=$(table small-tune)
check "four runs, of which one goes to the end" same "$(tail -n +2 runs/small-tune/tune.csv | cut -d, -f 7 | tr '\n' ' ')" "18 6 6 6 "
check "the best is first" test "$(tail -n +2 runs/small-tune/tune.csv | cut -d, -f 4 | head -n 1 | cut -c 1)" -gt 0
check "no run begins twice, one goes on" same "$(starts_of small-tune)" " 4 0 1 6 "
check "a picture" grep -q '</svg>' runs/small-tune/tune.svg
winner=$(sed -n '2s/.*,//p' runs/small-tune/tune.csv)
peak=$(sed -n 's/^  peak: //p' best.yaml)
check "the best job has the best value" same "$winner" "$(find runs/small-tune -maxdepth 1 -type d -printf "%f\n" | sed -n "s/\(.*-peak=$peak\)\$/\1/p")"
check "and is in the folder too" cmp -s best.yaml runs/small-tune/best.yaml

one train best.yaml
check "--best trains" exits 0
check "to the loss of the table" same "$(column small-best valid_loss | tail -n 1)" "$(sed -n '2p' runs/small-tune/tune.csv | cut -d, -f 4)"
undisturbed=$(bits small-best)
check "a run that was paused has the bits of one that was not" same "$(bits "small-tune/$winner")" "$undisturbed"

one "${sweep[@]}" --json
check "done already: the same command again" exits 0
check "starts nothing" same "$(starts_of small-tune)" " 4 0 1 6 "
check "JSON is complete" grep -q '"complete": true' last.out
one "${sweep[@]}" --jobs 2 --quiet --out runs/two
check "two side by side: the same table" same "$(table two)" "$expected"

# Two processes with one folder, as tasks of an array are.
timeout "$patience" "$program" "${sweep[@]}" --jobs 1 --out runs/shared >shared.out 2>&1 &
other=$!
one "${sweep[@]}" --jobs 1 --out runs/shared
check "shared by two processes" exits 0
check "which both end" wait "$other"
check "shared: the same table" same "$(table shared)" "$expected"
check "shared: nothing twice" same "$(starts_of shared)" " 4 0 1 6 "

if ! $is_short; then
    # The first launch fails as Open MPI's do where two are in each other's way.
    mkdir stubs
    printf '#!/bin/sh\n[ -e failed ] || { touch failed; exit 1; }\nexec %s "$@"\n' "$(command -v mpirun)" >stubs/mpirun
    chmod +x stubs/mpirun
    PATH=$work/stubs:$PATH one "${sweep[@]}" --ranks 2 --jobs 1 --out runs/ranks
    check "runs of two ranks: the same table" same "$(table ranks)" "$expected"
    check "a launch that failed is tried again" grep -q 'MPI could not start the run' last.err
fi

# Killed outright, with what it has started, until it gets to the end.
kills=0
begin() { setsid "$program" "${sweep[@]}" --set log.every=1 --jobs 2 --out runs/killed >last.out 2>last.err </dev/null & }
delays="0.3 0.5 0.8"
! $is_short || delays=2
for delay in $delays; do
    begin
    process=$!
    sleep "$delay"
    kill -KILL "$process" 2>/dev/null && kills=$((kills + 1))
    wait "$process" 2>/dev/null || true
done
one "${sweep[@]}" --set log.every=1 --jobs 2 --out runs/killed
check "killed $kills times: ends" exits 0
check "killed: the same table" same "$(table killed)" "$expected"
check "killed: the same bits" same "$(bits "killed/$winner")" "$undisturbed"

# A signal stops the runs with checkpoints.
long=(tune job.yaml --key schedule.peak=1e-3,2e-3 --set steps=100000 --jobs 2 --out runs/stopped)
begun() { { cat runs/stopped/*/events.jsonl 2>/dev/null || true; } | grep -cE '"event": "(started|resumed)"' || true; }
wanted=0
signals="TERM USR1"
! $is_short || signals=TERM
for name in $signals; do
    wanted=$((wanted + 2))
    "$program" "${long[@]}" >last.out 2>last.err </dev/null &
    process=$!
    left=600
    until [ "$(begun)" -ge "$wanted" ] || [ $left -eq 0 ]; do
        sleep 0.05
        left=$((left - 1))
    done
    kill -$name "$process"
    code=0
    wait "$process" || code=$?
    check "SIG$name: code 75" exits 75
    check "SIG$name: says how to go on" grep -q 'run the same command again' last.err
    check "SIG$name: both runs have stopped" same "$(tail -qn 1 runs/stopped/*/events.jsonl | grep -c '"stopped"')" 2
done

one "${sweep[@]}" --minutes 0.000001 --jobs 1 --out runs/brief
check "a time that is over" exits 0
check "is said" grep -q 'the time was over' last.out
one "${sweep[@]}" --jobs 2 --out runs/brief
check "the same command goes on" same "$(table brief)" "$expected"

# Seeds, and the same effort for every optimizer.
one tune job.yaml --optimizers adamw,sgd --seeds 1,2 --runs 2 --halving 1 --set steps=6 --out runs/both --best both.yaml
check "two optimizers with two seeds" exits 0
check "as many runs of each" same "$(tail -n +2 runs/both/tune.csv | cut -d, -f 2 | sort | uniq -c | tr -s ' \n' ' ')" " 2 adamw 2 sgd "
check "a mean of seeds has a spread" test "$(sed -n 2p runs/both/tune.csv | cut -d, -f 5)" != ""
check "the best of each" test -s runs/both/best-adamw.yaml -a -s runs/both/best-sgd.yaml
one train both.yaml --dry-run
check "a job each" exits 0

# A rate that makes a NaN, and one that does not.
one tune job.yaml --key schedule.peak=1e-3,1e30 --set guard.max_skipped=1 --set clip.norm=.inf --set optimizer.kind=sgd \
    --set optimizer.beta2=0.99 --out runs/bad
check "a key of another optimizer is refused" exits 2
sed -e 's/^optimizer:.*/optimizer: {kind: sgd}/' job.yaml >sgd.yaml
diverging=(tune sgd.yaml --set guard.max_skipped=1 --set clip.norm=.inf --halving 1)
one "${diverging[@]}" --key schedule.peak=1e-3,1e30 --out runs/diverged
check "one diverges, the other does not" exits 0
check "it is said" grep -q '1e+30 *diverged\|1e30 *diverged' last.out
check "and counts as infinite" same "$(sed -n '3p' runs/diverged/tune.csv | cut -d, -f 4,6)" inf,1
started=$(starts_of diverged)
one "${diverging[@]}" --key schedule.peak=1e-3,1e30 --out runs/diverged
check "started again: nothing is tried again" same "$(starts_of diverged)" "$started"
one "${diverging[@]}" --key schedule.peak=1e29,1e30 --out runs/all
check "all diverge" exits 3
check "in a sentence" grep -q 'every run diverged' last.err

# Refusals: one sentence, code 2, and nothing is written.
refused=0
refuse()
{
    local sentence=$1
    shift
    rm -rf runs/refused
    one tune "$@" --out runs/refused
    check "refused: $*" exits 2
    check "in one sentence: $*" test "$(grep -c '^vario: ' last.err)" -eq 1 -a "$(wc -l <last.err)" -eq 1
    check "that says it: $sentence" grep -qF -e "$sentence" last.err
    check "nothing is written: $*" test ! -e runs/refused
    refused=$((refused + 1))
}
range=(--key schedule.peak=1e-3:1e-2:log)
refuse "no --key found" job.yaml
refuse "nearest valid key: 'schedule.peak'" job.yaml --key schedule.peek=1:2:log
refuse "LOW below HIGH expected" job.yaml --key schedule.peak=2:1:log
refuse "times what each run derives of it found" job.yaml --key optimizer.ess=x0.1:x10:log --set optimizer.kind=ivon --set optimizer.settings=auto
refuse "LOW above 0 expected" job.yaml --key schedule.peak=0:1:log
refuse "--runs: 0 found" job.yaml "${range[@]}" --runs 0
refuse "--halving: 0 found" job.yaml "${range[@]}" --halving 0
refuse "--jobs: 0 found" job.yaml "${range[@]}" --jobs 0
refuse "--minutes: 0 found" job.yaml "${range[@]}" --minutes 0
refuse "--first: 19 found" job.yaml "${range[@]}" --first 19
refuse "--seeds 1,x: whole numbers expected" job.yaml "${range[@]}" --seeds 1,x
refuse "found twice" job.yaml "${range[@]}" --seeds 1,1
refuse "'adam' found, one of" job.yaml "${range[@]}" --optimizers adam
refuse "6 ranks found, at most 5 expected" job.yaml "${range[@]}" --ranks 6
refuse "a place of its own expected for the result, the input job.yaml found" job.yaml "${range[@]}" --best job.yaml
refuse "a place of its own expected for the result" job.yaml "${range[@]}" --best data/val.bin
refuse "'early_stop.kind' is loo" job.yaml "${range[@]}" --optimizers ivon --set optimizer.kind=ivon --set early_stop.kind=loo
refuse "no-job.yaml" no-job.yaml "${range[@]}"
refuse "none.bin" job.yaml "${range[@]}" --set data.valid=none.bin
refuse "'data.valid'" job.yaml "${range[@]}" --set data.valid=
one "${sweep[@]}" --seeds 1
check "another plan in the folder" exits 2
check "is named" grep -q "'seeds' of another tuning found" last.err
one tune job.yaml "${range[@]}" --out runs/small-best
check "the folder of a run" exits 2
started 1 tune job.yaml "${range[@]}"
check "under mpirun" exits 2
finish
