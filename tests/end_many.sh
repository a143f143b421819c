#!/usr/bin/env bash
# 64 ranks on a few cores: they train, save, say no more than one rank does, end when one of them is killed,
# and others go on to the bits of one rank.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
. "$here/end_bits.bash"

ranks=64
make_data
cat >job.yaml <<EOF
name: job
output: $work/runs
model: {kind: gpt2, n_layer: 1, n_head: 2, n_embd: 32, block_size: 16, vocab_size: 256}
data: {train: $work/data/train.bin, valid: $work/data/val.bin}
batch: {sequences: 4, microbatches: 16, parts: 4}
steps: 6
optimizer: {kind: ivon, ess: 1.0e+6, hessian_init: 1.0e-3, beta2: 0.99, weight_decay: 1.0e-4}
schedule: {kind: constant, peak: 2, warmup: 2} # steps are another number after the kill
parallel: {threads: 1}
eval: {batches: 2}
checkpoint: {every: 2, keep: 0}
log: {every: 1}
EOF
sed 's/^optimizer: .*/optimizer: {kind: evon, ess: 1.0e+5, basis_every: 2}/; s/peak: 2/peak: 0.01/' job.yaml >evon.yaml

# said: what both streams have, without the numbers
said() { cat last.out last.err | tr '\r' '\n' | sed 's/[0-9.]\{1,\}//g' | sort -u; }

train one 1 job.yaml
lines=$(said)
train all $ranks job.yaml
check "bits on $ranks ranks" same "$(sums all)" "$(sums one)"
check "no line is said by each rank" test "$(said | wc -l)" -le $(($(wc -l <<<"$lines") + 2))
train evon-1 1 evon.yaml
train evon-$ranks $ranks evon.yaml
check "EVON's bits on $ranks ranks" same "$(sums evon-$ranks)" "$(sums evon-1)"

mpirun -n $ranks "$program" train job.yaml --set name=killed --set steps=4000 --set checkpoint.keep=2 \
    >last.out 2>last.err </dev/null &
main=$!
for _ in $(seq 600); do
    [ -z "$(last_checkpoint killed)" ] || break
    sleep 0.1
done
mapfile -t processes < <(pgrep -P $main)
check "$ranks ranks run" test ${#processes[@]} -eq $ranks
kill -KILL "${processes[ranks / 2]}"
code=0
ended $main 30 || kill -KILL $main
wait $main || code=$?
check "a killed rank is seen in the exit code" test $code -ne 0
stayed=0
for process in "${processes[@]}"; do ended "$process" 10 || stayed=$((stayed + 1)); done
check "none of the others stays" test $stayed -eq 0
step=$((10#$(basename "$(last_checkpoint killed)" | tr -dc 0-9)))
train killed 48 job.yaml steps=$((step + 2))
check "48 go on from step $step" same "$(resumed_step killed)" $step
train undisturbed 1 job.yaml steps=$((step + 2))
check "to the bits of one rank" same "$(sums killed)" "$(sums undisturbed)"
finish
