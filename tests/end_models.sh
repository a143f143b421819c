#!/usr/bin/env bash
# Linear models and perceptrons on examples: what they learn, the same bits on any number of ranks,
# going on, what is said of them and what is refused.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

# member KEY: of the JSON object in last.out.
member() { sed -n "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/p" "$work/last.out" | head -n 1; }
above() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b) }' || { echo "    $1 is not above $2"; false; }; }

# A perceptron of three units; uneven work for every launch size, and a short last batch.
cat >mlp.yaml <<EOF
name: mlp
seed: 7
output: $work/runs
model: {kind: mlp, inputs: 2, outputs: 2, hidden: [20, 16]}
data: {train: "moons:0-199", valid: "moons:200-302"}
batch: {sequences: 12, microbatches: 5}
steps: 30
optimizer: {kind: ivon, ess: 200, hessian_init: 0.1, beta2: 0.99, weight_decay: 1.0e-3}
schedule: {kind: constant, peak: 1.0, warmup: 5}
clip: {norm: 1.0, scope: microbatch}
parallel: {threads: 1}
eval: {every: 15, samples: 3}
checkpoint: {every: 15}
EOF
# One unit, of fewer elements than three ranks can share.
sed -e 's/^name: .*/name: linear/' -e 's/kind: mlp/kind: linear/' -e 's/, hidden: \[20, 16\]//' \
    mlp.yaml >linear.yaml
sed -e 's/^name: .*/name: adamw/' -e 's/{kind: ivon.*/{kind: adamw, beta2: 0.99}/' \
    -e 's/peak: 1.0/peak: 0.01/' -e 's/, samples: 3//' mlp.yaml >adamw.yaml

# train NAME RANKS JOB [KEY=VALUE...]
train()
{
    local name=$1 ranks=$2 job=$3 sets=(--set "name=$1") pair
    shift 3
    for pair in "$@"; do sets+=(--set "$pair"); done
    launch "$ranks" train "$job" "${sets[@]}"
    check "$name trains" exits 0
}

# expect NAME RANKS JOB [KEY=VALUE...]: tensors and losses are those of the run `reference`.
expect()
{
    train "$@"
    check "bits of $1 ($*)" same "$(bits "$1")" "$(bits "$reference")"
    check "losses of $1" same \
        "$(column "$1" train_loss; column "$1" valid_loss; column "$1" valid_loss_averaged)" \
        "$(column "$reference" train_loss; column "$reference" valid_loss
           column "$reference" valid_loss_averaged)"
}

# everywhere NAME JOB [KEY=VALUE...]: on every number of ranks, with both stages.
everywhere()
{
    reference=$1-1
    train "$reference" 1 "${@:2}"
    local ranks
    for ranks in 2 3 4; do
        $is_short && [ $ranks -ne 3 ] && continue
        expect "$1-g$ranks" $ranks "${@:2}" parallel.shard=gradients
        expect "$1-p$ranks" $ranks "${@:2}" parallel.shard=parameters
    done
}
everywhere linear linear.yaml
everywhere mlp mlp.yaml
everywhere two-units mlp.yaml model.hidden=[20] model.activation=relu
check "layers make a difference" test "$(bits mlp-1)" != "$(bits two-units-1)"
if ! $is_short; then
    everywhere adamw adamw.yaml
    everywhere dropping mlp.yaml model.dropout=0.2 optimizer.mc_samples=2 model.activation=gelu
    everywhere bf16 mlp.yaml precision=bf16 parallel.wire=bf16 clip.scope=step
    everywhere values mlp.yaml model.inputs=1 model.outputs=1 model.loss=gaussian \
        model.noise_variance=0.04 data.train=curve:0-199 data.valid=curve:200-302
    everywhere left-out mlp.yaml data.leave_out=17 data.mislabelled=0.1
    check "an example matters" test "$(bits left-out-1)" != "$(bits mlp-1)"
    reference=mlp-1
    for shard in none optimizer; do
        train $shard-1 1 mlp.yaml parallel.shard=$shard
        check "$shard ends close" near "$(column $shard-1 valid_loss | tail -n 1)" \
            "$(column mlp-1 valid_loss | tail -n 1)" 0.01
    done
fi

# Going on is as good as not having stopped.
for job in mlp linear; do
    train $job-again 2 $job.yaml steps=15
    train $job-again 3 $job.yaml
    check "$job resumes" same "$(resumed_step)" 15
    check "a resumed $job has the bits of a straight run" same "$(bits $job-again)" "$(bits $job-1)"
done

# What eval says, on any number of ranks.
launch 1 eval runs/mlp-1 --json --samples 4
check "eval" exits 0
kept=$(cat last.out)
check "the loss is that of the run" near "$(member valid_loss)" \
    "$(column mlp-1 valid_loss | tail -n 1)" 1e-8
check "accuracy" above "$(member accuracy)" 0.7
check "accuracy, averaged" above "$(member accuracy_averaged)" 0.7
check "perplexity" near "$(member perplexity)" \
    "$(awk -v l="$(member valid_loss)" 'BEGIN { printf "%.17g", exp(l) }')" 1e-9
if command -v python3 >/dev/null; then
    check "eval --json is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' last.out
fi
for ranks in 2 3; do
    launch $ranks eval runs/mlp-1 --json --samples 4
    check "eval on $ranks ranks" same "$(cat last.out)" "$kept"
done
# 103 examples are 8 batches of 12 and one of 7: their losses add up.
for part in 200-295 296-302 200-302; do
    one eval runs/mlp-1 --data moons:$part --json
    eval "loss_${part%-*}_${part#*-}=$(member valid_loss)"
done
# shellcheck disable=SC2154 # as above
check "a short batch counts as what it holds" near "$loss_200_302" \
    "$(awk -v a="$loss_200_295" -v b="$loss_296_302" 'BEGIN { printf "%.17g", (96 * a + 7 * b) / 103 }')" 1e-6
one eval runs/mlp-1
check "eval for people" grep -q "nats an example, accuracy 0" last.out
one plan mlp.yaml --ranks 5
check "plan" exits 0
one train mlp.yaml --dry-run --set name=dry
check "--dry-run" exits 0
check "config.json has the sizes" grep -q '"model_type": "mlp".*"hidden": \[20, 16\]' \
    "$(last_checkpoint mlp-1)/config.json"

# Moons are learnt.
cp "$here/../jobs/moons-ivon.yaml" moons-ivon.yaml
sed -e 's/moons-ivon/moons-adamw/' -e 's/{kind: ivon.*/{kind: adamw, beta2: 0.99}/' \
    -e 's/peak: 1.0/peak: 0.01/' -e 's/, samples: 16//' moons-ivon.yaml >moons-adamw.yaml
for optimizer in ivon adamw; do
    one train moons-$optimizer.yaml --quiet --set "output=$work/runs" --set parallel.threads=1
    check "moons with $optimizer" exits 0
    one eval runs/moons-$optimizer --json
    check "$optimizer's accuracy" above "$(member accuracy)" 0.93
done

refuse "text from a perceptron" "runs/mlp-1: .*gpt2" generate runs/mlp-1 --prompt x
refuse "a key of another kind" "'model.n_layer' belongs to gpt2, and model.kind is mlp" \
    train mlp.yaml --set model.n_layer=2
refuse "other inputs than the data's" "moons:0-199.*2.*model.inputs \(3\)" \
    train mlp.yaml --set name=bad --set model.inputs=3
refuse "values for classes" "moons:0-199" \
    train mlp.yaml --set name=bad --set model.loss=gaussian
refuse "examples that nobody knows" "sparrows:0-9" \
    train mlp.yaml --set name=bad --set data.train=sparrows:0-9
refuse "an example beyond the data" "data.leave_out 200" \
    train mlp.yaml --set name=bad --set data.leave_out=200
refuse "other widths on resume" "'model.hidden' was '\[20, 16\]' and is '\[20, 17\]'" \
    train mlp.yaml --set name=mlp-1 --set model.hidden=[20,17]
refuse "another kind on resume" "'model.kind' was 'mlp' and is 'linear'" \
    train linear.yaml --set name=mlp-1
refuse "initial weights of another kind" "layers|tensor" \
    train linear.yaml --set name=bad --set "model.init=$(last_checkpoint mlp-1)"
finish
