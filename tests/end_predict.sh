#!/usr/bin/env bash
# Predictions judged: `vario eval` and `vario ood` on one run and on several, the same numbers on any
# number of ranks, and against what awk makes of the rows.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
command -v jq >/dev/null || { echo "jq expected, none found"; exit 1; }

# write_glyphs FILE NAME MODEL OPTIMIZER: a perceptron on generated digits.
write_glyphs()
{
    cat >"$1" <<EOF
name: $2
output: $work/runs
model: {kind: mlp, inputs: 784, outputs: 10, $3}
data: {train: "glyphs:0-999", valid: "glyphs:5000-5249"}
batch: {sequences: 20, microbatches: 2}
steps: ${steps:-200}
optimizer: $4
parallel: {threads: 1}
EOF
}
ivon='{kind: ivon, ess: 3000, hessian_init: 0.1, beta2: 0.999, weight_decay: 1.0e-3}'
adamw='{kind: adamw, weight_decay: 0.01}'
write_glyphs a.yaml a 'hidden: [16], activation: relu' "$ivon"
write_glyphs b.yaml b 'hidden: [12], activation: tanh' "$ivon"
write_glyphs plain.yaml plain 'hidden: [16]' "$adamw"
write_glyphs drop.yaml drop 'hidden: [16], dropout: 0.2' "$adamw"
for name in a b; do
    launch 2 train $name.yaml --set schedule.peak=0.2
    check "train $name" exits 0
done
for name in plain drop; do
    launch 2 train $name.yaml --set schedule.peak=0.003
    check "train $name" exits 0
done

fact() { jq -r "$1" last.out; }
holds() { jq -e "$1" last.out >/dev/null || { echo "    $1 expected"; false; }; }
more_ranks="2 3"
! $is_short || more_ranks=3
# same_on_ranks NAME ARGUMENT...: the same JSON on 1, 2 and 3 ranks, left in last.out.
same_on_ranks()
{
    local name=$1 kept ranks
    shift
    launch 1 "$@" --json
    check "$name" exits 0
    kept=$(cat last.out)
    for ranks in $more_ranks; do
        launch $ranks "$@" --json
        check "$name on $ranks ranks" same "$(cat last.out)" "$kept"
    done
}
# of_rows EXPRESSION: mean of an awk expression over the rows of rows.csv, columns by their names.
of_rows()
{
    awk -F, -v n=0 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        { sum += '"$1"'; n++ } END { printf "%.17g", sum / n }' rows.csv
}

# One run, its mean and its samples; 250 examples make a short last batch of 20.
same_on_ranks "eval" eval runs/a --samples 5 --tokens rows.csv --bins 10
rows=$(md5sum <rows.csv)
launch 1 eval runs/a --samples 5 --tokens rows.csv --bins 10 --json
check "rows on 1 rank are those on 3" same "$(md5sum <rows.csv)" "$rows"
check "a row for every example" same "$(wc -l <rows.csv)" 251
check "nll of the rows" near "$(of_rows '$at["nll"]')" "$(fact .nll_averaged)" 1e-12
check "accuracy of the rows" near "$(of_rows '$at["target"] == $at["predicted"]')" \
    "$(fact .accuracy_averaged)" 1e-12
check "brier of the rows" near "$(of_rows '$at["brier"]')" "$(fact .brier_averaged)" 1e-12
check "mutual information of the rows" near \
    "$(of_rows '$at["entropy"] - $at["expected_entropy"]')" "$(fact .mutual_information)" 1e-9
ece=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    { b = int($at["confidence"] * 10); gap[b] += $at["right"] - $at["confidence"]; n++ }
    END { for (b in gap) sum += gap[b] < 0 ? -gap[b] : gap[b]; printf "%.17g", sum / n }' rows.csv)
check "ece of the rows" near "$(fact .ece_averaged)" "$ece" 1e-12
independent=$(fact .nll_averaged)
same_on_ranks "eval in pairs" eval runs/a --samples 4 --antithetic
paired=$(jq -c 'del(.run)' last.out)
check "pairs give another average" holds ".antithetic and .nll_averaged != $independent"
cp -r runs/a runs/pairs
sed -i 's/^  antithetic: false/  antithetic: true/' runs/pairs/job.yaml
launch 2 eval runs/pairs --samples 4 --json
check "the job's eval.antithetic is --antithetic" same "$(jq -c 'del(.run)' last.out)" "$paired"
launch 1 eval runs/plain --posterior kfac --samples 3 --antithetic --json
check "pairs of K-FAC" holds '.antithetic and (.curve | length) == 3'
launch 1 eval runs/a --samples 5 --bins 10 --json
check "the curve is at 1, 2, 4 and 5 samples" holds '[.curve[].samples] == [1, 2, 4, 5]'
check "the curve ends with the average" holds '.curve[-1].nll == .nll_averaged and .curve[-1].ece == .ece_averaged'
check "perplexity is exp(nll)" near "$(fact .perplexity)" "$(fact '.nll | exp')" 1e-12
check "bins hold every example" holds '([.reliability_averaged[].count] | add) == 250 and (.reliability | length) == 10'
check "samples disagree" holds '.mutual_information > 0 and .valid_loss == .nll'
check "training did something" holds '.accuracy > 0.5 and .auroc > 0.5'
nll=$(fact .nll)
accuracy=$(fact .accuracy)
check "the mean's loss is that of the training's end" near "$(column a valid_loss | tail -n 1)" "$nll" 1e-8
passed_at_four=$(fact '.curve[2].nll')
launch 1 eval runs/a --samples 4 --json
check "four samples end where the curve of five passed" same "$(fact .nll_averaged)" "$passed_at_four"
launch 1 eval runs/a --tokens rows.csv --sequences 7 --batches 3 --json
check "--sequences and --batches" same "$(wc -l <rows.csv)" 22
check "no average without samples" holds 'has("nll_averaged") or has("curve") | not'

# Several runs: means, samples in turn, and a run beside itself.
same_on_ranks "an ensemble" eval runs/plain runs/drop
check "an ensemble of two" holds '.members == 2 and .runs == ["plain", "drop"] and .mutual_information > 0'
same_on_ranks "samples of two runs" eval runs/a runs/b --samples 3
check "three samples of each" holds '.members == 6 and .samples == 3'
check "the mean is the first run's" same "$(fact .nll)" "$nll"
launch 1 eval runs/a runs/a --json
check "a run beside itself" same "$(fact .accuracy_averaged)" "$accuracy"
check "a run beside itself agrees with itself" holds '.mutual_information < 1e-12'

# MC dropout: masks differ between the batches, too, so equal examples get other predictions.
same_on_ranks "dropout" eval runs/drop --samples 3
check "dropouts disagree" holds '.mutual_information > 0'
{
    seq -s, 785
    for _ in $(seq 40); do awk 'BEGIN { for (i = 0; i < 784; i++) printf "%g,", (i % 7) / 10; print 3 }'; done
} | sed '1s/[0-9]*/x&/' >equal.csv
launch 1 eval runs/drop --samples 1 --data csv:equal.csv --sequences 2 --tokens rows.csv
check "equal examples" exits 0
check "every batch has masks of its own" test "$(cut -d, -f5 rows.csv | sort -u | wc -l)" -gt 10
launch 1 eval runs/drop --data csv:equal.csv --sequences 2 --tokens rows.csv
check "without dropout they are equal" same "$(cut -d, -f5 rows.csv | sort -u | wc -l)" 2

# Values: the intervals of the average against the rows, whose quantiles are those of the normal.
cat >curve.yaml <<EOF
name: curve
output: $work/runs
model: {kind: mlp, inputs: 1, outputs: 1, hidden: [16], activation: tanh, loss: gaussian, noise_variance: 0.01}
data: {train: "curve:0-99", valid: "curve:1000-1119"}
batch: {sequences: 25, microbatches: 2}
steps: 200
optimizer: {kind: ivon, ess: 1000, hessian_init: 1.0, beta2: 0.999, weight_decay: 1.0e-3}
schedule: {kind: constant, peak: 0.01}
parallel: {threads: 1}
EOF
launch 2 train curve.yaml
check "train curve" exits 0
same_on_ranks "eval of values" eval runs/curve --samples 6 --tokens rows.csv
within() { of_rows '($at["target_0"] - $at["mean_0"]) ^ 2 <= '"$1"' ^ 2 * $at["variance_0"]'; }
check "half of the intervals" near "$(within 0.6744897501960817)" "$(fact '.reliability_averaged[9].observed')" 1e-12
check "95% intervals" near "$(within 1.959963984540054)" "$(fact '.reliability_averaged[18].observed')" 1e-12
check "coverage error" near "$(fact '.reliability_averaged | [.[] | (.observed - .nominal) | fabs] | add / 19')" \
    "$(fact .coverage_error_averaged)" 1e-12
check "the curve ends with the average" holds '.curve[-1].coverage_error == .coverage_error_averaged'
check "a target inside an interval is inside a wider one" holds '[.reliability[].observed] | . == sort and length == 19'
check "rows have their inputs" test "$(awk -F, 'NR > 1 && ($2 < -1 || $2 > 1)' rows.csv | wc -l)" -eq 120
launch 2 eval runs/curve --samples 2 --plot curve.svg
check "eval --plot of values" test -s curve.svg
sed -i 's/curve:0-99/csv:gone.csv/' runs/curve/job.yaml
launch 1 eval runs/curve --plot gone.svg
check "the training set may be gone" exits 0

# Out of distribution: letters have classes of their own, beyond the model's.
same_on_ranks "ood" ood runs/a --in glyphs:6000-6149 --out letters:0-129 --samples 4
check "ood counts both sets" holds '.in_count == 150 and .out_count == 130'
check "ood has all scores" holds '(.averaged.scores | keys) == ["entropy", "max_probability", "mutual_information"]'
check "letters look stranger than digits" holds '.averaged.scores.entropy | .auroc > 0.5 and .mean_out > .mean_in'
check "histograms hold both sets" holds \
    '.averaged.entropy_histogram | (.in | add) == 150 and (.out | add) == 130'
same_on_ranks "ood of dropout" ood runs/drop --out letters:0-99 --samples 3
same_on_ranks "ood of an ensemble" ood runs/a runs/plain --out letters:0-99
launch 1 ood runs/a --out glyphs:5000-5249 --json
check "a set against itself" holds '.mean.scores.entropy.auroc == 0.5'

# Tokens, with weights that every rank keeps and with fetched ones.
make_data
write_job job.yaml tokens
launch 2 train job.yaml
check "train tokens" exits 0
tr 'a-z' 'b-za' <text.txt >other.txt
one prepare other.txt --out other
same_on_ranks "eval of tokens" eval runs/tokens --samples 3 --batches 5 --tokens rows.csv
kept=$(cat last.out)
check "a position each" holds '(.by_position | length) == 32 and (.by_position[31] | .first == 31 and .last == 31)'
check "positions make up the loss" near "$(fact '[.by_position[].nll] | add / length')" "$(fact .nll)" 1e-12
check "positions make up the average" near \
    "$(fact '[.by_position[].nll_averaged] | add / length')" "$(of_rows '$at["nll"]')" 1e-12
same_on_ranks "ood of tokens" ood runs/tokens --out other/train.bin --samples 3 --batches 6
check "a sequence an item" holds '.in_count == 12 and .out_count == 12'
check "another text is another text" holds '.mean.scores.nll.auroc > 0.9 and .averaged.scores.nll.auroc > 0.9'
sed -i 's/shard: gradients/shard: parameters/' runs/tokens/job.yaml
check "the run is sharded" grep -q "shard: parameters" runs/tokens/job.yaml
for ranks in 1 3; do
    launch $ranks eval runs/tokens --samples 3 --batches 5 --json
    check "fetched weights on $ranks ranks" same "$(cat last.out)" "$kept"
done

# Pictures.
launch 2 eval runs/a --samples 2 --plot eval.png
check "eval --plot" test -s eval.png
launch 2 ood runs/a --out letters:0-99 --plot ood.svg
check "ood --plot" test -s ood.svg

# refused WORDS ARGUMENT...: exit code 2 and one sentence with these words, on 2 ranks.
refused()
{
    local words=$1
    shift
    launch 2 "$@"
    check "refused: $words" exits 2
    check "one sentence: $words" same "$(grep -c '^vario: ' last.err)" 1
    check "says: $words" grep -q -- "$words" last.err
}
refused "a posterior (ivon, evon, bbb or swag) expected" eval runs/plain --samples 2 --posterior samples
refused "or model.dropout above 0 expected" eval runs/plain --samples 2
refused "model.dropout above 0 expected" eval runs/a --samples 2 --posterior dropout
refused "none expected with --posterior mean" eval runs/a --samples 2 --posterior mean
refused "samples S of at least 1" ood runs/a --posterior samples --out letters:0-9
refused "auto, mean, samples, dropout or kfac expected" eval runs/a --posterior best
refused "another model.kind" eval runs/a runs/tokens
refused "from 1 to 1000" eval runs/a --bins 0
refused "DATA expected" ood runs/a
refused "2 inputs an example found" ood runs/a --in moons:0-9 --out letters:0-9
refused "2 inputs an example found" ood runs/a --out moons:0-9
refused "a data set expected" ood runs/a --out marks:0-9
refused "a picture ends in" eval runs/a --plot eval.jpg
refused "a picture ends in" ood runs/a --out letters:0-9 --plot ood.jpg
steps=1 write_glyphs other.yaml other 'hidden: [4]' "$ivon"
launch 1 train other.yaml --set model.outputs=11
refused "11 outputs found" eval runs/a runs/other
launch 1 train other.yaml --set data.valid=glyphs:0-9 --set name=another
refused "data.valid glyphs:0-9 found" eval runs/a runs/another
launch 1 eval runs/a runs/another --data glyphs:7000-7009 --json
check "runs of other data, with --data" exits 0
finish
