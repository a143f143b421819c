#!/usr/bin/env bash
# Micro-batches cut into parts: more ranks than micro-batches, with the same bits on any number of them,
# through kills too; nearly what the micro-batch as a whole gives; what is sent is what is planned.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
. "$here/end_bits.bash"

make_data
served=true
cat >ivon.yaml <<EOF
name: ivon
seed: 7
output: $work/runs
model: {kind: gpt2, n_layer: 2, n_head: 2, n_embd: 32, block_size: 16, vocab_size: 256}
data: {train: $work/data/train.bin, valid: $work/data/val.bin}
batch: {sequences: 8, microbatches: 3, parts: 4}
steps: 5
optimizer: {kind: ivon, ess: 1.0e+6, hessian_init: 1.0e-3, beta2: 0.99, weight_decay: 1.0e-4}
schedule: {kind: cosine, peak: 2, warmup: 2}
parallel: {threads: 1}
eval: {batches: 2}
checkpoint: {every: 3, keep: 0}
log: {every: 2}
EOF
sed 's/^optimizer: .*/optimizer: {kind: adamw}/; s/peak: 2/peak: 1.0e-3/' ivon.yaml >adamw.yaml
sed 's/^optimizer: .*/optimizer: {kind: evon, ess: 1.0e+5, basis_every: 2}/; s/peak: 2/peak: 0.01/' ivon.yaml >evon.yaml
by_microbatch="clip.norm=0.5 clip.scope=microbatch"
by_step="clip.norm=0.5 clip.scope=step"

# shellcheck disable=SC2086
if $is_short; then
    everywhere ivon "5" ivon.yaml $by_microbatch model.dropout=0.1
    everywhere evon "8" evon.yaml $by_microbatch steps=4
else
    everywhere ivon "2 3 5 8 12" ivon.yaml
    everywhere clipped "3 5 12" ivon.yaml $by_microbatch parallel.shard=gradients
    everywhere bf16 "5 8" ivon.yaml $by_microbatch precision=bf16 parallel.wire=bf16
    everywhere samples "5 24" ivon.yaml $by_microbatch optimizer.mc_samples=2 model.dropout=0.1
    everywhere squares "5" ivon.yaml $by_step optimizer.hessian=gradsq parallel.shard=gradients
    everywhere adamw "2 5 12" adamw.yaml $by_step
    everywhere adamw-clipped "8" adamw.yaml $by_microbatch precision=bf16
    everywhere evon "2 5 12" evon.yaml $by_microbatch
    everywhere evon-step "8" evon.yaml $by_step precision=bf16 optimizer.mc_samples=2
    differ ivon-1 clipped-1
    differ adamw-1 adamw-clipped-1
fi

# A micro-batch is what its parts are together, but for the order of sums.
for kind in ivon adamw; do
    for parts in 1 2; do train "$kind-in-$parts" 2 $kind.yaml batch.parts=$parts clip.norm=0.5; done
    check "$kind in parts is $kind" awk -v a="$(column $kind-in-1 train_loss | tail -n 1)" \
        -v b="$(column $kind-in-2 train_loss | tail -n 1)" \
        'BEGIN { d = a - b; exit !(d < 1e-4 && d > -1e-4 && a > 0) }'
done
sed 's/^optimizer: .*/optimizer: {kind: ivon}/; s/peak: 2/peak: 1.0e-3/' ivon.yaml >tuned.yaml
train tuned 3 tuned.yaml
train tuned-1 1 tuned.yaml
check "settings of their own" same "$(sums tuned)" "$(sums tuned-1)"

# Half way on 5 ranks, then on 12.
train cut 5 ivon.yaml clip.norm=0.5
rm -r runs/cut/step-00000005
launch 12 train ivon.yaml --set name=cut --set clip.norm=0.5
check "goes on with 12 ranks" exits 0
train whole 1 ivon.yaml clip.norm=0.5
check "bits of the run that went on" same "$(sums cut)" "$(sums whole)"
one eval runs/cut --samples 2 --json
check "eval of a run in parts" exits 0

# planned RANKS KEY=VALUE...: the bytes that a step sends, and what a logged one's statistics do.
planned()
{
    local ranks=$1 sets=() pair
    shift
    for pair in "$@"; do sets+=(--set "$pair"); done
    one plan ivon.yaml --ranks "$ranks" --json "${sets[@]}"
    jq ".stages[] | select(.stage == \"gradients\") | .bytes_per_step.total + $ranks * ($ranks - 1) * 32" last.out
}
# shellcheck disable=SC2086
for clip in "clip.norm=.inf" "$by_microbatch"; do
    train sent 5 ivon.yaml log.every=1 eval.every=0 $clip
    check "bytes as planned, $clip" same "$(column sent bytes_sent | sed -n 2p)" "$(planned 5 $clip)"
    rm -r runs/sent
done

# What cannot be.
refuse "too many ranks" "13 ranks found, at most 12 expected.*batch.parts: 8 allows 24" plan ivon.yaml --ranks 13
refuse "no parts for so many" "25 ranks found, at most 12 expected[^;]*$" plan ivon.yaml --ranks 25
refuse "no divisor" "'batch.parts' is 3, a divisor of batch.sequences expected, which is 8" \
    plan ivon.yaml --ranks 2 --set batch.parts=3
refuse "none" "'batch.parts': .*'0' found" plan ivon.yaml --ranks 2 --set batch.parts=0
refuse "local sums" "'parallel.shard' is optimizer, gradients or parameters expected" \
    train ivon.yaml --dry-run --set parallel.shard=optimizer
finish
