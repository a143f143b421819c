#!/usr/bin/env bash
# The dense posterior: the same numbers on any number of ranks, near which IVON ends, leave-one-out
# by either matrix, files and pictures, and what is refused by one sentence on every rank.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

# value KEY: a number of the last JSON object.
value() { jq -r ".$1" last.out; }

# line_job FILE NAME: regression on 19 bumps and a bias. 1 - beta2 so small that h is not biased.
line_job()
{
    cat >"$1" <<JOB
name: $2
output: $work/runs
model: {kind: linear, inputs: 19, outputs: 1, loss: gaussian, noise_variance: 0.05}
data: {train: "curve:0-299", valid: "curve:1000-1499", features: 19}
batch: {sequences: 75, microbatches: 4}
steps: 3000
optimizer: {kind: ivon, ess: 300, hessian_init: 1.0, beta2: 0.998, weight_decay: 0.02}
schedule: {kind: cosine, peak: 0.3, warmup: 20}
parallel: {threads: 1}
eval: {every: 0}
checkpoint: {every: 0}
log: {every: 100}
JOB
}
line_job line.yaml line
launch 2 train line.yaml --quiet
check "a regression" exits 0

for ranks in 1 2 3 4; do
    $is_short && [ $((ranks % 2)) -eq 0 ] && continue
    launch "$ranks" exact runs/line --leave-out gram --maximize --spectrum --json
    check "the exact answer on $ranks ranks" exits 0
    [ -s first.json ] || cp last.out first.json
    evidence=$(jq .log_evidence first.json)
    check "its evidence on $ranks ranks" near "$(value log_evidence)" "$evidence" 1e-10
    check "its maximum on $ranks ranks" near "$(value maximum.log_evidence)" "$(jq .maximum.log_evidence first.json)" 1e-9
    check "its distance on $ranks ranks" near "$(value kl)" "$(jq .kl first.json)" 1e-9
    check "leave-one-out on $ranks ranks" near "$(value loo_loss)" "$(jq .loo_loss first.json)" 1e-10
    check "unknowns on $ranks ranks" same "$(value unknowns)" 20
done
check "IVON's mean is within 2%" awk -v e="$(jq .mean_error first.json)" 'BEGIN { exit !(e < 0.02) }'
check "its variances are the optimum's" near "$(jq '.variance_ratio[2]' first.json)" 1 0.05
check "which are smaller than the exact ones" awk -v r="$(jq .variance_over_exact first.json)" 'BEGIN { exit !(r < 0.9) }'
check "the parts of the distance add up" near "$(jq .kl first.json)" "$(jq '.kl_mean + .kl_variance + .kl_diagonal' first.json)" 1e-12
check "the largest evidence is larger" awk -v a="$(jq .maximum.log_evidence first.json)" -v b="$evidence" 'BEGIN { exit !(a > b) }'
check "sensitivities rank alike" awk -v r="$(jq .loo_correlation first.json)" 'BEGIN { exit !(r > 0.9) }'
check "so do moves of predictions" awk -v r="$(jq .moved_correlation first.json)" 'BEGIN { exit !(r > 0.9) }'
check "as many eigenvalues as unknowns" same "$(jq '.spectrum | length' first.json)" 20
launch 2 exact runs/line --leave-out precision --json
check "leave-one-out by the precision" near "$(value loo_loss)" "$(jq .loo_loss first.json)" 1e-10

# A job needs no run; the same problem.
launch 2 exact line.yaml --json
check "a job" exits 0
check "has the same evidence" near "$(value log_evidence)" "$evidence" 1e-10
check "and nothing to compare with" same "$(value kl)" null
launch 2 exact line.yaml --set data.leave_out=7 --json
check "without an example" same "$(value training_rows)" 299

launch 2 exact runs/line --leave-out gram --spectrum --unknowns u.csv --examples e.csv --plot p.svg
check "text, tables and a picture" exits 0
check "says how near the run is" grep -q 'KL(run || exact)' last.out
check "a line an unknown" same "$(wc -l <u.csv)" 21
check "a line an example" same "$(wc -l <e.csv)" 301
check "a picture" grep -q '<svg' p.svg

# The mode without example 7 is what training without it would find.
launch 1 exact line.yaml --set data.leave_out=7 --ess 299 --prior 6 --leave-out precision --examples without.csv --quiet
with=$(awk -F, '$1 == 7 { print $4 }' e.csv)
check "leave-one-out is training without" near "$(awk -F, '$1 == 7 { print $3 }' without.csv)" "$with" 1e-8

# Classes: a softmax regression, and layers of a perceptron.
cat >moons.yaml <<JOB
name: moons
output: $work/runs
model: {kind: mlp, inputs: 2, outputs: 2, hidden: [8], activation: tanh}
data: {train: "moons:0-199", valid: "moons:500-699"}
batch: {sequences: 50, microbatches: 4}
steps: 300
optimizer: {kind: ivon, ess: 200, hessian_init: 0.1, beta2: 0.99, weight_decay: 0.01}
schedule: {kind: cosine, peak: 0.3, warmup: 20}
parallel: {threads: 1}
eval: {every: 0}
checkpoint: {every: 0}
JOB
launch 2 train moons.yaml --quiet
launch 2 exact runs/moons --bias-prior 1 --leave-out precision --json
check "a last layer" exits 0
check "of 18 unknowns" same "$(value unknowns)" 18
nll=$(value exact.nll)
launch 3 exact runs/moons --bias-prior 1 --leave-out gram --json
check "predicts alike on 3 ranks" near "$(value exact.nll)" "$nll" 1e-6
launch 2 exact runs/moons --tensors layers.0,layers.1.weight --bias-prior 1 --json
check "a sub-network" same "$(value unknowns)" 40

# A softmax regression ends as near as the regression did.
sed -e 's/name: moons/name: soft/; s/kind: mlp/kind: linear/; s/outputs: 2, hidden: .8., activation: tanh/outputs: 3, bias: false/' \
    -e 's/steps: 300/steps: 3000/; s/ess: 200/ess: 3000/; s/beta2: 0.99,/beta2: 0.998,/' moons.yaml >soft.yaml
launch 2 train soft.yaml --quiet
launch 2 exact runs/soft --json
check "a softmax regression" exits 0
check "whose mean is within 2%" awk -v e="$(value mean_error)" 'BEGIN { exit !(e < 0.02) }'
check "whose variances are the optimum's" near "$(value 'variance_ratio[2]')" 1 0.05
check "whose h is not biased" awk -v b="$(column soft hessian_bias | grep . | tail -n 1)" 'BEGIN { exit !(b != "" && b < 0.02) }'

# Tensors of a GPT-2: one gradient a window, for targets that the model draws.
make_data
write_job gpt.yaml gpt
launch 2 train gpt.yaml --quiet --set steps=10
launch 2 exact runs/gpt --tensors h.1.attn.c_proj --json
check "a tensor of a GPT-2" exits 0
check "of 1024 unknowns" same "$(value unknowns)" 1024
kl=$(value kl_variance)
launch 3 exact runs/gpt --tensors h.1.attn.c_proj --json
check "the same on 3 ranks" near "$(value kl_variance)" "$kl" 1e-3

# refuse NAME CODE PATTERN ARGUMENT...: an exit code and one sentence, on 1 and on 3 ranks.
refuse()
{
    local name=$1 expected=$2 pattern=$3 ranks
    shift 3
    for ranks in 1 3; do
        if [ $ranks -eq 1 ]; then one exact "$@"; else launch $ranks exact "$@"; fi
        check "$name ($ranks ranks)" exits "$expected"
        check "$name is said ($ranks ranks)" grep -qE -e "^vario: .*$pattern" last.err
        check "$name is said once ($ranks ranks)" same "$(grep -c '^vario: ' last.err)" 1
    done
}
refuse "no argument" 2 "an argument is missing"
refuse "an absent run" 2 "runs/none: a run directory expected" runs/none
refuse "a singular precision" 2 "precision is singular: data and prior leave element [0-9]+ of 'layers.1.bias' free.*--bias-prior" runs/moons
refuse "no such tensor" 2 "--tensors: 'layers.7' found" runs/moons --tensors layers.7
refuse "GPT-2 without tensors" 2 "--tensors: names of tensors of gpt2 expected" runs/gpt
refuse "tokens left out" 2 "--leave-out: examples expected" runs/gpt --tensors h.1.attn.c_proj --leave-out gram
refuse "a posterior of tokens by draws" 2 "--draws: examples expected" runs/gpt --tensors h.1.attn.c_proj --draws 9
refuse "another way to leave out" 2 "--leave-out: 'both' found" runs/line --leave-out both
refuse "a job of a perceptron" 2 "moons.yaml: a job of a linear model" moons.yaml
refuse "a table without its numbers" 2 "--leave-out expected beside it" runs/line --examples e.csv
refuse "evidence of classes" 2 "--maximize: a regression" runs/moons --bias-prior 1 --maximize
refuse "an ess of 0" 2 "--ess: 0 found" runs/line --ess 0
refuse "an infinite prior" 2 "--prior: 'inf' found" runs/line --prior inf
refuse "an infinite prior of biases" 2 "--bias-prior: 'inf' found" runs/line --bias-prior inf
refuse "no samples" 2 "--samples: 0 found" runs/line --samples 0
awk 'BEGIN { for (row = 0; row < 4; row++) for (i = 0; i <= 400000; i++) printf "%s%d%s", row ? "" : "x", i % 7 + row, i < 400000 ? "," : "\n" }' >wide.csv
sed -e "s/inputs: 19/inputs: 400000/; s/, features: 19//; s|curve:[-0-9]*|csv:$work/wide.csv|g; s/sequences: 75/sequences: 3/" line.yaml >wide.yaml
refuse "too many unknowns" 2 "400001 unknowns: .*(GB are free|elements on each of)" wide.yaml
sed -e 's/kind: ivon.*weight_decay: 0.02/kind: sgd/; s/name: line/name: plain/; s/steps: 3000/steps: 20/; s/peak: 0.3/peak: 0.001/' line.yaml >plain.yaml
launch 1 train plain.yaml --quiet
refuse "no prior" 2 "plain: --prior P expected" runs/plain
sed -e 's/kind: ivon, ess: 300, hessian_init: 1.0, beta2: 0.998,/kind: bbb, ess: 300,/; s/name: line/name: bbb/' line.yaml >bbb.yaml
refuse "a prior of biases that bbb has" 2 "bbb: --bias-prior 1 found, none expected" bbb.yaml --bias-prior 1
launch 2 exact runs/plain --prior 6 --json
check "a prior of one's own" near "$(value log_evidence)" "$evidence" 1e-9
check "a run without a posterior" same "$(value kl)" null
finish
