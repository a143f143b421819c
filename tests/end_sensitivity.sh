#!/usr/bin/env bash
# Sensitivities of a run's examples, sequences and tokens; runs that end by the leave-one-out loss.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

member() { sed -n "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/p" "$work/last.out" | head -n 1; }
cat >glyphs.yaml <<EOF
name: glyphs
seed: 7
output: $work/runs
model: {kind: mlp, inputs: 784, outputs: 10, hidden: [24], activation: relu}
data: {train: "glyphs:0-399", valid: "glyphs:9000-9099", mislabelled: 0.05}
batch: {sequences: 50}
steps: 600
optimizer: {kind: ivon, ess: 400, hessian_init: 0.5, beta2: 0.999, weight_decay: 1.0e-3}
schedule: {kind: cosine, peak: 0.2, warmup: 20}
parallel: {threads: 1}
EOF
one train glyphs.yaml --quiet
check "train" exits 0

# The same on any number of ranks, to the last digit.
launch 1 sensitivity runs/glyphs --json --groups class --csv one.csv
check "sensitivity" exits 0
cp last.out one.json
for ranks in 2 3; do
    launch $ranks sensitivity runs/glyphs --json --groups class --csv more.csv
    check "sensitivity on $ranks ranks" cmp -s last.out one.json
    check "its table on $ranks ranks" cmp -s more.csv one.csv
done
check "leaving out adds to the loss" jq -e '.loo_loss > .loss' one.json
check "more so for a whole class" jq -e '[.groups[] | .added_together > .added_alone] | all' one.json
check "a line an example" same "$(wc -l <one.csv)" 401
if command -v python3 >/dev/null; then
    check "sensitivity --json is JSON" python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
assert r["rows"] == 400 and len(r["most"]) == len(r["least"]) == 10 and len(r["groups"]) == 10
assert sum(g["rows"] for g in r["groups"]) == 400
s = [x["sensitivity"] for x in r["most"] + r["least"][::-1]]
assert s == sorted(s, reverse=True)' one.json
fi
sed -i 's/shard: gradients/shard: parameters/' runs/glyphs/job.yaml
launch 2 sensitivity runs/glyphs --json --groups class
check "fetched weights, the same numbers" cmp -s last.out one.json

# Planted mistakes are what a run would rather not have seen.
launch 1 sensitivity runs/glyphs --json --by loss
planted=$(member mislabelled)
found=$(member mislabelled_in_first_tenth)
check "most of the mistakes ($found of $planted) are found" test $((found * 10)) -ge $((planted * 8))
launch 1 sensitivity runs/glyphs --by loss --top 3
check "the list marks them" grep -q " mislabelled" last.out
launch 1 sensitivity runs/glyphs --range 17-23 --json
check "a range" same "$(member rows)" 7
launch 1 sensitivity runs/glyphs --data glyphs:700-759 --json
check "other data" same "$(member rows)" 60
seq 400 | awk '{ print $1 % 2 ? "odd" : "even" }' >groups.txt
launch 1 sensitivity runs/glyphs --groups groups.txt
check "groups by a file" grep -q "^even  *200 " last.out
launch 1 sensitivity runs/glyphs --groups groups.txt --json --quiet
cp last.out groups.json
check "groups are left out alone and together" grep -q \
    '"name": "even", "rows": 200.*added_alone": [0-9.].*added_together": [0-9.]' groups.json
for ranks in 2 3; do
    launch $ranks sensitivity runs/glyphs --groups groups.txt --json --quiet
    check "groups on $ranks ranks" cmp -s last.out groups.json
done
if command -v gnuplot >/dev/null; then
    launch 2 sensitivity runs/glyphs --plot tiles.png --json
    check "--plot" test -s tiles.png
fi

# Sequences and tokens.
make_data 4000
write_job text.yaml text
one train text.yaml --quiet --set steps=20
check "train on text" exits 0
seq 4000 | awk '{ print "part " int($1 % 7 / 3) }' >parts.txt
for per in sequence token; do
    range=(--groups parts.txt)
    [ $per = sequence ] || range+=(--range 40-70)
    launch 1 sensitivity runs/text --quiet --per $per --json "${range[@]}"
    check "per $per" exits 0
    cp last.out per.json
    for ranks in 2 3; do
        launch $ranks sensitivity runs/text --quiet --per $per --json "${range[@]}"
        check "per $per on $ranks ranks" cmp -s last.out per.json
    done
done
launch 1 sensitivity runs/text --per sequence --top 2
check "the text is shown" grep -q "[a-z]* [a-z]* [a-z]*$" last.out
check "an ess that is not the number of tokens is spoken of" grep -q "warning: optimizer.ess" last.err

# refused NAME WORDS ARGUMENT...: exit code 2 and one sentence with these words.
refused()
{
    local name=$1 words=$2
    shift 2
    launch 2 sensitivity "$@"
    check "$name: exit code" exits 2
    check "$name: the sentence" grep -q "^vario: .*$words" last.err
    check "$name: one line" same "$(grep -c "^vario: " last.err)" 1
}
write_job plain.yaml plain adamw
one train plain.yaml --quiet --set steps=6
refused "a run without a posterior" "a posterior" runs/plain --quiet
refused "tokens of examples" "example expected" runs/glyphs --per token --quiet
refused "examples of tokens" "sequence or token expected" runs/text --per example --quiet
refused "classes of tokens" "a file expected" runs/text --groups class --quiet
refused "data of another size" "inputs" runs/glyphs --data moons:0-9 --quiet
{ seq -f x%g -s, 785; echo "$(seq -s, 784),10"; } >table.csv
refused "a class out of range" "10" runs/glyphs --data csv:table.csv --quiet
refused "a range beyond the data" "0-399" runs/glyphs --range 5-400 --quiet
refused "a range that is none" "FIRST-LAST" runs/glyphs --range 5 --quiet
refused "a ranking that is none" "sensitivity or loss" runs/glyphs --by size --quiet
head -n 300 groups.txt >few.txt
refused "too few groups" "300 lines" runs/glyphs --groups few.txt --quiet

# In training: a column and events; with early_stop the run is over, and stays so.
watch=(--set sensitivity.every=20 --set sensitivity.examples=100)
one train glyphs.yaml --quiet --set name=watched --set steps=60 "${watch[@]}"
check "sensitivity.every" exits 0
check "an estimate every 20 steps" same "$(column watched loo_loss | grep -c .)" 3
check "as events" same "$(grep -c '"event": "sensitivity"' runs/watched/events.jsonl)" 3
one train glyphs.yaml --quiet --set name=plain60 --set steps=60
check "watching changes nothing" same "$(bits watched)" "$(bits plain60)"
stop=("${watch[@]}" --set early_stop.kind=loo --set early_stop.patience=2 --set schedule.peak=2
      --set batch.microbatches=3)
# A high rate at the end of the warm-up: the estimate soon stops falling.
for ranks in 1 3; do
    launch $ranks train glyphs.yaml --set "name=over$ranks" "${stop[@]}"
    check "early_stop on $ranks ranks" exits 0
    step=$(basename "$(last_checkpoint "over$ranks")")
    check "it ends early ($step)" test "$step" != step-00000600
    check "it says so" grep -q "ended at step" last.out
    check "it is an event" grep -q '"event": "early_stop"' "runs/over$ranks/events.jsonl"
    kept=$(bits "over$ranks")
    launch $ranks train glyphs.yaml --set "name=over$ranks" "${stop[@]}"
    check "it stays over" exits 0
    check "and says so" grep -q "nothing to do" last.out
    check "with its bits" same "$(bits "over$ranks")" "$kept"
done
check "the same estimates on any number of ranks" \
    same "$(column over1 loo_loss)" "$(column over3 loo_loss)"
one train glyphs.yaml --set name=bad --set early_stop.kind=loo
check "early_stop without estimates is refused" exits 2
check "and says why" grep -q "sensitivity.every" last.err

# Retraining without each of 40 examples.
if ! $is_short; then
    cat >linear.yaml <<EOF
name: linear
model: {kind: linear, inputs: 8, outputs: 1, loss: gaussian, noise_variance: 0.01}
data: {train: "curve:0-39", valid: "curve:1000-1039", features: 8}
batch: {sequences: 40}
steps: 400
optimizer: {kind: ivon, ess: 40, hessian_init: 10, beta2: 0.999, weight_decay: 0.1}
schedule: {kind: cosine, peak: 0.1, warmup: 20}
log: {every: 0}
EOF
    code=0
    VARIO=$program "$here/../scripts/leave-one-out" linear.yaml 40 table.csv \
        >last.out 2>last.err || code=$?
    check "scripts/leave-one-out" exits 0
    rho=$(sed -n 's/.*estimated to be added *//p' last.out)
    check "estimates rank as retraining does ($rho)" awk -v r="$rho" 'BEGIN { exit !(r > 0.8) }'
fi

# Retraining without each of 12 groups of near twins: what leaving all of them out adds is nearer to
# what really is added than the sum of what leaving each out adds.
if ! $is_short; then
    awk 'function u() { n++; x = sin(n) * 43758.5453; return x - int(x) + (x < 0) }
        BEGIN {
            print "a,b,c,d,y"
            for (g = 0; g < 12; g++) {
                for (k = 1; k <= 4; k++) centre[k] = 2 * u() - 1
                shift = 0.6 * u() - 0.3
                for (i = 0; i < 5; i++) {
                    y = shift + 0.4 * u() - 0.2
                    for (k = 1; k <= 4; k++) {
                        x = centre[k] + 0.1 * u()
                        y += 0.3 * k * x
                        printf "%.5f,", x
                    }
                    printf "%.5f\n", y
                }
            }
        }' >twins.csv
    tail -n +2 twins.csv | awk '{ print int((NR - 1) / 5) }' >twins.txt
    cat >twins.yaml <<EOF
name: twins
output: $work/runs
model: {kind: linear, inputs: 4, outputs: 1, loss: gaussian, noise_variance: 0.1}
data: {train: "csv:twins.csv", valid: "csv:twins.csv"}
batch: {sequences: 60}
steps: 800
optimizer: {kind: ivon, ess: 60, hessian_init: 1, beta2: 0.995, weight_decay: 0.05}
schedule: {kind: cosine, peak: 0.1, warmup: 20}
parallel: {threads: 1}
log: {every: 0}
EOF
    # loss_of RUN: of group.csv, per row
    loss_of() { one eval "runs/$1" --data csv:group.csv --json --quiet && member nll; }
    one train twins.yaml --quiet
    launch 1 sensitivity runs/twins --groups twins.txt --quiet
    grep -E '^[0-9]+ +5 ' last.out | sort -n >estimates.txt
    check "twelve groups" same "$(wc -l <estimates.txt)" 12
    for group in $(seq 0 11); do
        awk -v g=$group 'NR == 1 || int((NR - 2) / 5) != g' twins.csv >others.csv
        awk -v g=$group 'NR == 1 || int((NR - 2) / 5) == g' twins.csv >group.csv
        one train twins.yaml --quiet --set name=others --set data.train=csv:others.csv \
            --set batch.sequences=55 --set optimizer.ess=55
        echo "$(loss_of twins) $(loss_of others)"
        rm -r runs/others
    done >losses.txt
    nearer=$(paste -d' ' losses.txt estimates.txt | awk '{ true = 5 * ($2 - $1); alone = $7; all = $8
        n += (true - all) ^ 2 < (true - alone) ^ 2 } END { print n }')
    check "groups leave together ($nearer of 12 nearer)" test "$nearer" -ge 9
fi
finish
