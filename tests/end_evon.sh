#!/usr/bin/env bash
# Optimizers that take matrices whole: the tensors of a run's last checkpoint have the same bits on any
# number of ranks, through kills too; what comes after training takes their posterior; what is refused.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
. "$here/end_bits.bash"

make_data
served=true
cat >evon.yaml <<EOF
name: evon
seed: 7
output: $work/runs
model: {kind: gpt2, n_layer: 2, n_head: 2, n_embd: 32, block_size: 16, vocab_size: 256, bias: true}
data: {train: $work/data/train.bin, valid: $work/data/val.bin}
batch: {sequences: 1, microbatches: 17}
steps: 9
optimizer: {kind: evon, ess: 1.0e+5, hessian_init: 0.5, beta2: 0.99, estimate_clip: 1.5, basis_every: 3}
schedule: {kind: cosine, peak: 0.01, warmup: 2}
clip: {norm: 1.0, scope: microbatch}
parallel: {threads: 1}
eval: {batches: 2}
checkpoint: {every: 4, keep: 0}
log: {every: 3}
EOF
sed 's/^optimizer: .*/optimizer: {kind: soap, basis_every: 3, basis_limit: 64}/' evon.yaml >soap.yaml
sed 's/^optimizer: .*/optimizer: {kind: muon}/' evon.yaml >muon.yaml

if $is_short; then
    everywhere evon 3 evon.yaml
    everywhere all 7 evon.yaml precision=bf16 optimizer.mc_samples=2 optimizer.rest=ivon steps=4
    everywhere soap 3 soap.yaml steps=4
    everywhere muon "" muon.yaml steps=4
else
    everywhere evon "2 3 4 7 16" evon.yaml
    everywhere bf16 4 evon.yaml precision=bf16
    everywhere samples 3 evon.yaml optimizer.mc_samples=2
    everywhere all "2 3 4 7 16" evon.yaml precision=bf16 optimizer.mc_samples=2 optimizer.rest=ivon
    everywhere wire 3 evon.yaml parallel.wire=bf16 clip.scope=step clip.norm=0.5 optimizer.whiten=false
    everywhere limit 4 evon.yaml optimizer.basis_limit=32
    everywhere soap "2 7" soap.yaml
    everywhere muon "2 7" muon.yaml
    for other in samples wire limit; do differ evon-1 $other-1; done
    ! grep -q '"precision": "bf16"' runs/bf16-1/events.jsonl || differ evon-1 bf16-1
fi

# Logging looks at the sums before the update, and changes nothing.
train unlogged 2 evon.yaml log.every=1000
check "logging changes no bit" same "$(sums unlogged)" "$(sums evon-1)"

# go_on KIND: killed after a checkpoint, between two turns of the bases, and gone on with elsewhere.
go_on()
{
    local name=$1-killed job=$1.yaml steps=60 left=500 process
    ! $is_short || steps=30
    local sets=(steps=$steps log.every=1 checkpoint.every=2)
    train "$1-long" 1 "$job" "${sets[@]}"
    mpirun -n 2 "$program" train "$job" --set "name=$name" "${sets[@]/#/--set=}" \
        >last.out 2>last.err </dev/null &
    process=$!
    until [ -d "runs/$name/step-00000008" ] || ! running $process || [ $left -eq 0 ]; do
        left=$((left - 1))
        sleep 0.02
    done
    # shellcheck disable=SC2046
    kill -KILL $(pgrep -P $process) 2>/dev/null || true
    check "$name ends with its ranks" ended $process 30
    { wait $process || true; } 2>/dev/null
    check "$name was killed in the middle" test "$(basename "$(last_checkpoint "$name")")" \
        != "$(printf 'step-%08d' $steps)"
    train "$name" 3 "$job" "${sets[@]}"
    check "$name resumes" test -n "$(resumed_step)"
    check "bits of $name" same "$(sums "$name")" "$(sums "$1-long")"
}
go_on evon
$is_short || go_on soap
$is_short || go_on muon

# What comes after training draws from the posterior.
launch 3 eval runs/evon-1 --samples 3 --json
check "eval" exits 0
kept=$(cat last.out)
one eval runs/evon-1 --samples 3 --json
check "eval on one rank" same "$(cat last.out)" "$kept"
check "eval averages over samples" grep -q '"valid_loss_averaged": *[0-9]' last.out
one eval runs/soap-1 --json
check "eval of a point" exits 0
one generate runs/evon-1 --prompt "The sea" --tokens 20 --seed 3 --samples 2
check "generate from samples" exits 0
check "there is text" test -s last.out
one generate runs/muon-1 --prompt "The sea" --tokens 20 --seed 3
check "generate from a point" exits 0
for kind in evon soap muon; do
    one plan $kind.yaml --ranks 5 --json
    check "plan of $kind" exits 0
done

for shard in none optimizer gradients; do
    refuse "shard $shard" "'parallel.shard' is $shard, parameters expected: evon" train evon.yaml \
        --set name=bad --set parallel.shard=$shard
done
refuse "no basis" "'optimizer.basis_limit': '0' found" train evon.yaml --set name=bad --set optimizer.basis_limit=0
refuse "a basis of nobody's" "'optimizer.basis_limit': '16385' found" train evon.yaml --set name=bad \
    --set optimizer.basis_limit=16385
refuse "bases that never turn" "'optimizer.basis_every': '0' found" train evon.yaml --set name=bad \
    --set optimizer.basis_every=0
refuse "bases that forget nothing" "'optimizer.basis_beta': '1' found" train evon.yaml --set name=bad \
    --set optimizer.basis_beta=1
refuse "estimates of nothing" "'optimizer.estimate_clip': '0' found" train evon.yaml --set name=bad \
    --set optimizer.estimate_clip=0
refuse "another rest" "'optimizer.rest': 'sgd' found" train evon.yaml --set name=bad --set optimizer.rest=sgd
refuse "IVON's key" "'optimizer.hessian' belongs to ivon, and optimizer.kind is evon" train evon.yaml \
    --set name=bad --set optimizer.hessian=price
refuse "a posterior of SOAP's" "'optimizer.ess' belongs to ivon, bbb(,| and) evon" train soap.yaml --set name=bad \
    --set optimizer.ess=1

# What a run may not go on from.
sed 's/^optimizer: .*/optimizer: {kind: ivon, settings: given}/; s/threads: 1/threads: 1, shard: parameters/' evon.yaml >ivon.yaml
train ivon 1 ivon.yaml steps=2
refuse "EVON's checkpoint for IVON" "'optimizer.kind' was 'evon' and is 'ivon' now" train ivon.yaml \
    --set name=evon-1
refuse "IVON's checkpoint for EVON" "'optimizer.kind' was 'ivon' and is 'evon' now" train evon.yaml \
    --set name=ivon
refuse "EVON's checkpoint for SOAP" "'optimizer.kind' was 'evon' and is 'soap' now" train soap.yaml \
    --set name=evon-1
refuse "bases of other sides" "'optimizer.basis_limit' was '2048' and is '16' now" train evon.yaml \
    --set name=evon-1 --set optimizer.basis_limit=16
train whole 2 evon.yaml steps=2
train wide 1 evon.yaml steps=2 model.n_embd=64

# damage NAME PATTERN COMMAND...: the command changes $file, in a copy of a run.
damage()
{
    local name=$1 pattern="runs/damaged/step-00000002/posterior.safetensors: $2"
    shift 2
    rm -rf runs/damaged
    cp -r runs/whole runs/damaged
    file=runs/damaged/step-00000002/posterior.safetensors
    "$@"
    refuse "$name, for training" "$pattern" train evon.yaml --set name=damaged --set steps=3
    refuse "$name, for eval" "$pattern" eval runs/damaged
}
overwrite() { printf 'vario' | dd of="$file" bs=1 seek="$1" conv=notrunc status=none; }
bytes=$(stat -c %s runs/whole/step-00000002/posterior.safetensors)
damage "cut off in a basis" ".*truncated in tensor 'basis.h.1.mlp.c_proj.weight.right'" \
    truncate -s $((bytes - 1)) "$work/runs/damaged/step-00000002/posterior.safetensors"
damage "another last basis" "tensor 'basis.h.1.mlp.c_proj.weight.right' is altered" overwrite $((bytes - 5))
damage "another shape" ".*of another model" cp runs/wide/step-00000002/posterior.safetensors \
    runs/damaged/step-00000002/posterior.safetensors
if ! $is_short; then
    damage "another header" "the header is altered" overwrite 60
    damage "no posterior" "No such file" rm "$work/runs/damaged/step-00000002/posterior.safetensors"
fi
refuse "samples of a point" "eval.samples|posterior" train muon.yaml --set name=bad --set eval.samples=2
finish
