#!/usr/bin/env bash
# optimizer.settings: auto: a run finds its settings, the same ones on any number of ranks, keeps them when it
# goes on, and takes what the job gives; what cannot be derived is refused.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
served=true
make_data
says() { cat last.out last.err | tr '\n' ' ' | grep -q -- "$1" || { echo "    nothing like: $1"; false; }; }
settings_of() { sed -n '/^optimizer:/,/^[a-oq-z]/p; s/^  \(peak\|update\): /&/p' "runs/$1/job.yaml"; }
value() { sed -n "s/^  $2: //p" "runs/$1/job.yaml"; }
found() { grep -o '"event": "settings".*' "runs/$1/events.jsonl"; }

cat >gpt2-ivon.yaml <<END
name: gpt2-ivon
seed: 7
output: $work/runs
model: {kind: gpt2, n_layer: 2, n_head: 2, n_embd: 32, block_size: 32, vocab_size: 256, dropout: 0.1}
data: {train: $work/data/train.bin, valid: $work/data/val.bin}
batch: {sequences: 2, length: 32, microbatches: 5}
steps: 12
schedule: {kind: cosine, warmup: 3}
clip: {norm: 1.0, scope: microbatch}
parallel: {threads: 1}
eval: {batches: 4}
checkpoint: {every: 6}
END
sed -e 's/^name: .*/name: gpt2-evon/' -e '$a optimizer: {kind: evon}' gpt2-ivon.yaml >gpt2-evon.yaml
cat >mlp-ivon.yaml <<END
name: mlp-ivon
seed: 7
output: $work/runs
model: {kind: mlp, inputs: 2, outputs: 2, hidden: [20, 16]}
data: {train: "moons:0-199", valid: "moons:200-302"}
batch: {sequences: 12, microbatches: 5}
steps: 12
optimizer: {kind: ivon}
parallel: {threads: 1}
checkpoint: {every: 6}
END

for job in gpt2-ivon gpt2-evon mlp-ivon; do
    launch 1 train $job.yaml
    check "$job trains" exits 0
    check "$job says what it found" says "settings: beta2 0.9[0-9]*, ess .*temperature .*(from gradients of "
    check "$job keeps it" grep -q '^  settings: auto' runs/$job/job.yaml
    check "$job notes it" test "$(found $job | wc -l)" -eq 1
    launch 3 train $job.yaml --set name=$job-3
    check "$job trains on 3 ranks" exits 0
    check "settings of $job" same "$(settings_of $job-3)" "$(settings_of $job)"
    check "event of $job" same "$(found $job-3)" "$(found $job)"
    check "bits of $job" same "$(bits $job-3)" "$(bits $job)"
    # Stopped, and gone on with, by the same job file on other ranks.
    launch 3 train $job.yaml --set name=$job-on --until 5
    check "$job pauses" exits 0
    launch 2 train $job.yaml --set name=$job-on
    check "$job goes on" exits 0
    check "$job goes on from its checkpoint" same "$(resumed_step)" 5
    check "$job looks once" test "$(found $job-on | wc -l)" -eq 1
    check "settings of $job that went on" same "$(settings_of $job-on)" "$(settings_of $job)"
    check "bits of $job that went on" same "$(bits $job-on)" "$(bits $job)"
    # Its job.yaml is a whole job: nothing is looked at.
    one train runs/$job/job.yaml --set name=$job-again
    check "$job again, of its job.yaml" exits 0
    check "nothing was to be found" test -z "$(found $job-again)"
    check "bits of $job again" same "$(bits $job-again)" "$(bits $job)"
done
check "EVON's rates" same "$(value gpt2-evon rest_lr) $(value gpt2-evon peak)" "0.003 0.003"

# Other stages look at the same gradients.
for stage in none parameters; do
    launch 2 train gpt2-ivon.yaml --set name=$stage --set parallel.shard=$stage --until 1
    check "shard $stage" same "$(settings_of $stage)" "$(settings_of gpt2-ivon)"
done

# What the job gives wins; of a run that goes on, nothing may change, unless steps do.
given="--set optimizer.settings=auto --set optimizer.ess=5000"
# shellcheck disable=SC2086
one train mlp-ivon.yaml --set name=given $given --until 3
check "a key is given" same "$(value given ess) $(value given settings)" "5000 auto"
check "the others follow" test "$(value given hessian_init)" != "$(value mlp-ivon hessian_init)"
one train mlp-ivon.yaml --set name=given --set optimizer.settings=auto --set optimizer.ess=6000
check "another value" exits 2
check "it is named" says "'optimizer.ess' was '5000' and is '6000' now"
one train mlp-ivon.yaml --set name=given --set optimizer.ess=5000
check "no longer automatic" exits 2
check "it says so" says "'optimizer.settings' was 'auto' and is 'given' now"
one train mlp-ivon.yaml --set name=given --set optimizer.settings=auto --set steps=4
check "more is left to the run" exits 0
check "it keeps what it had" same "$(value given ess) $(value given beta2)" "5000 $(value mlp-ivon beta2)"

# Killed, it goes on.
"$program" train mlp-ivon.yaml --set name=killed --set steps=2000000 --set log.every=0 \
    --set checkpoint.every=500 >killed.out 2>&1 </dev/null &
pid=$!
for ((left = 200; left > 0; left--)); do [ ! -d runs/killed/step-00000500 ] || break; sleep 0.05; done
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
before=$(settings_of killed)
step=$(last_checkpoint killed)
launch 3 train mlp-ivon.yaml --set name=killed --set steps=2000000 --until $((10#${step##*-} + 1))
check "a killed run goes on" exits 0
check "with its settings" same "$(settings_of killed)" "$before"

# What is known before a run, and where gradients say nothing.
one train gpt2-ivon.yaml --set name=other --dry-run
check "a dry run" exits 0
check "it says what waits" says "settings: beta2 .*; found when the run begins: optimizer.ess, "
check "and trains nothing" test ! -e runs/other
one plan gpt2-evon.yaml
check "a plan says it, too" says "settings: beta2 [0-9.]*, rest_lr 0.003; found when the run begins: "
{ echo a,b,c; for _ in $(seq 40); do echo 0,0,0; done; } >zeros.csv
cat >zero.yaml <<END
name: zero
output: $work/runs
model: {kind: linear, inputs: 2, outputs: 1, loss: gaussian}
data: {train: "csv:zeros.csv", valid: "csv:zeros.csv"}
steps: 5
END
one train zero.yaml
check "no gradients" exits 3
check "it says so" says "runs/zero: the mean square of the gradients at the initial weights is 0, a finite number above"
check "nothing was begun" test ! -e runs/zero/job.yaml
one train zero.yaml --set optimizer.settings=given
check "given settings need none" exits 0
one exact zero.yaml
check "exact needs settings" exits 2
check "it says which" says "vario exact: zero.yaml: 'optimizer.settings' is auto, which vario train alone resolves"
finish
