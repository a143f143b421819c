#!/usr/bin/env bash
# A step predicted from a cluster's file (docs/clusters.md): rows, one launch, and what is refused.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
served=true
says() { cat last.out last.err | tr '\n' ' ' | grep -q -- "$1" || { echo "    nothing like: $1"; false; }; }
holds() { jq -e "$1" last.out >/dev/null || { echo "    $1 expected"; false; }; }

cat >job.yaml <<END
name: small
model: {n_layer: 2, n_head: 2, n_embd: 64, block_size: 32, vocab_size: 256}
data: {train: train.bin, valid: val.bin}
batch: {sequences: 4, length: 32, microbatches: 5, parts: 2}
steps: 3600
optimizer: {kind: adamw}
END
cat >cluster.yaml <<END
name: two racks
ranks: 4
inside: {latency: 1.0e-6, bandwidth: 5.0e+9}
between: {latency: 2.0e-6, bandwidth: 1.0e+10}
hour: 2
watts: 500
fp32_64: {blocks: 1.0e+9, head: 1.0e+9, sample: 1.0e-9, adamw_item: 0, adamw_step: 5.0e-9, ivon_item: 5.0e-9,
  ivon_step: 1.0e-8, evon_item: 5.0e-8, evon_step: 5.0e-8}
END
one plan job.yaml --cluster cluster.yaml
check "a table" exits 0
check "it names both" says "small on two racks: a step of 640 tokens"
check "nodes, as far as there is work" same "$(awk '$1 ~ /^[0-9]+$/ { printf "%s/%s ", $1, $2 }' last.out)" "1/4 2/8 3/10 "
one plan job.yaml --cluster cluster.yaml --json
check "the table in JSON" holds '[.[].ranks] == [4, 8, 10] and .[0].efficiency == 1'
check "parts make up a step" holds 'all(.[]; (.passes + .draws + .owner + .wait - .seconds) | fabs < 1e-12)'
check "price and energy" holds '.[1] | (.price / .hours - 4 | fabs < 1e-9) and (.kwh / .hours - 1 | fabs < 1e-9)'
check "3600 steps" holds '.[0] | .hours - .seconds | fabs < 1e-9'
one plan job.yaml --cluster cluster.yaml --ranks 5 --nodes 5 --json
check "one launch" holds 'length == 1 and .[0].nodes == 5 and .[0].ranks == 5 and .[0].wait > 0'
one plan job.yaml --cluster cluster.yaml --ranks 11
check "too many ranks" exits 2
check "it says so" says "ranks"
one plan job.yaml --ranks 8 --json
sent=$(jq '.stages[] | select(.stage == "gradients").bytes_per_step.parameters' last.out)
check "ranks of a node have parameters once" same "$sent" 0
one plan job.yaml --ranks 8 --nodes 2 --json
on_two=$(jq '.stages[] | select(.stage == "gradients").bytes_per_step.parameters' last.out)
one plan job.yaml --ranks 8 --nodes 8 --json
on_eight=$(jq '.stages[] | select(.stage == "gradients").bytes_per_step.parameters' last.out)
check "seven times as many nodes beside the first" same "$on_eight" $((7 * on_two))
check "a node's share of the memory" holds '.stages[] | select(.stage == "gradients").memory.once_a_node == 0'
refuse() {
    local what=$1 pattern=$2
    shift 2
    one plan "$@"
    check "$what" exits 2
    check "$what is said" says "$pattern"
}
refuse "nodes of nothing" "--nodes 2: --ranks expected with it" job.yaml --nodes 2
refuse "more nodes than ranks" "--nodes 3: 1 to 2 expected" job.yaml --cluster cluster.yaml --ranks 2 --nodes 3
refuse "no file" "none.yaml: " job.yaml --cluster none.yaml
sed '/^between/d' cluster.yaml >alone.yaml
refuse "a network that was not measured" "alone.yaml: 'between' expected" job.yaml --cluster alone.yaml --ranks 8 --nodes 2
one plan job.yaml --cluster alone.yaml --json
check "one node alone" holds 'length == 1'
sed 's/fp32_64/fp32_64x/' cluster.yaml >wrong.yaml
refuse "nonsense" "wrong.yaml:7:1: 'fp32_64x' found, a key of a cluster file" job.yaml --cluster wrong.yaml
refuse "a precision that was not measured" "sections of bf16 expected" job.yaml --cluster cluster.yaml --set precision=bf16
finish
