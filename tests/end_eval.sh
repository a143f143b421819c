#!/usr/bin/env bash
# What comes after training: evaluation, text, the plan, and runs that are finished or not to start.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_data
write_job job.yaml run
launch 2 train job.yaml
check "train" exits 0
kept=$(bits run)

# member KEY: of the JSON object in last.out; numbers keep the digits they were printed with.
member() { sed -n "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/p" "$work/last.out" | head -n 1; }
is_number() { [[ $1 =~ ^[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$ ]]; }

# Evaluation: what the metrics had, the same on any number of ranks to the last digit.
launch 1 eval runs/run --json
check "eval" exits 0
loss=$(member valid_loss)
perplexity=$(member perplexity)
check "valid_loss is a number" is_number "$loss"
check "perplexity is exp(valid_loss)" near "$perplexity" \
    "$(awk -v l="$loss" 'BEGIN { printf "%.17g", exp(l) }')" 1e-9
check "no averaged loss without samples" same "$(member valid_loss_averaged)" ""
check "training lowered the loss below that of guessing" awk -v l="$loss" 'BEGIN { exit !(l < 4.5) }'
launch 1 eval runs/run --json --samples 4
averaged=$(member valid_loss_averaged)
check "eval --samples" exits 0
check "valid_loss_averaged is a number" is_number "$averaged"
check "the mean's loss is the same beside samples" same "$(member valid_loss)" "$loss"
check "averaging stays near the mean" near "$averaged" "$loss" 0.2
check "averaging is not evaluating at the mean" test "$averaged" != "$loss"
for ranks in 2 3; do
    launch $ranks eval runs/run --json
    check "eval on $ranks ranks" same "$(member valid_loss)" "$loss"
    launch $ranks eval runs/run --json --samples 4
    check "averaged on $ranks ranks" same "$(member valid_loss_averaged)" "$averaged"
done
if command -v python3 >/dev/null; then
    check "eval --json is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' last.out
fi

# Text: a function of checkpoint, prompt and seed.
launch 1 generate runs/run --prompt "The sea" --tokens 60 --seed 3
check "generate" exits 0
text=$(cat last.out)
check "text begins with the prompt" test "${text#The sea}" != "$text"
launch 2 generate runs/run --prompt "The sea" --tokens 60 --seed 3
check "the same seed, the same text" same "$(cat last.out)" "$text"
one generate runs/run --prompt "The sea" --tokens 60 --seed 4
check "another seed, another text" test "$(cat last.out)" != "$text"
one generate runs/run --prompt "The sea" --tokens 60 --temperature 0 --seed 3
check "temperature 0" exits 0
greedy=$(cat last.out)
one generate runs/run --prompt "The sea" --tokens 60 --temperature 0 --seed 4
check "temperature 0 asks no seed" same "$(cat last.out)" "$greedy"
one generate runs/run --prompt "The sea" --tokens 60 --top-k 1 --seed 5
check "top-k 1 is temperature 0" same "$(cat last.out)" "$greedy"
one generate runs/run --prompt "The sea" --tokens 60 --top-p 0.000001 --seed 5
check "a tiny top-p is temperature 0" same "$(cat last.out)" "$greedy"

# A terminal, which mpirun gives every rank, obeys nothing that is written; a file gets the bytes.
launch 1 generate runs/run --prompt $'The \e[2Jsea\t\n' --tokens 0
check "a text on a terminal" same "$(cat last.out)" $'The \\x1b[2Jsea\t'
one generate runs/run --prompt $'The \e[2Jsea' --tokens 0
check "a text in a file" same "$(cat last.out)" $'The \e[2Jsea'

# A text is the same whether its tokens were computed one by one or at once, as a prompt. A posterior
# this wide gives every sample other words. Token 26 is the last that sees the whole window of 32;
# then its second half is kept, and 26 is a multiple of 13: the same samples' turn.
greedy() { launch "$1" generate "runs/$2" --temperature 0 --samples 13 --prompt "$3" --tokens "$4"; }
continues() { same "$(cat last.out)" "$(printf '%s\n' "$1")"; }
cp -r runs/run runs/vague
sed -i 's/ess: .*/ess: 20000/' runs/vague/job.yaml
greedy 1 vague "The sea" 60
text=$(cat last.out)
check "samples" exits 0
greedy 1 vague "${text:0:20}" 13
check "a longer prompt" continues "${text:0:33}"
greedy 1 vague "${text:16:17}" 16
check "a full window keeps its second half" continues "${text:16:33}"
greedy 1 vague "$text" 1
check "a prompt longer than the window" exits 0
cp -r runs/vague runs/fetched
sed -i 's/shard: gradients/shard: parameters/' runs/fetched/job.yaml
check "the run is sharded" grep -q "shard: parameters" runs/fetched/job.yaml
for ranks in 1 3; do
    greedy $ranks fetched "The sea" 60
    check "text of fetched samples on $ranks ranks" continues "$text"
done

# A finished run is done at once; another name for it changes nothing.
launch 3 train job.yaml
check "a finished run" exits 0
check "a finished run keeps its bits" same "$(bits run)" "$kept"

# --fresh deletes nothing that was not asked for.
launch 2 train job.yaml --fresh
check "--fresh is refused" exits 2
check "--fresh deletes nothing" same "$(bits run)" "$kept"
check "--fresh says how many checkpoints would be lost" grep -q "^vario: .*[0-9].*checkpoint" last.err
force=$(grep -o -- '--[a-z-]*' last.err | grep -v -x -e --fresh | head -n 1)
check "--fresh says how to force it" test -n "$force"
if [ -n "$force" ]; then
    case $force in --fresh-*) arguments=("$force") ;; *) arguments=(--fresh "$force") ;; esac
    launch 2 train job.yaml "${arguments[@]}" --set seed=8
    check "a forced fresh start" exits 0
    check "a forced fresh start goes on from nothing" same "$(resumed_step)" ""
    check "a forced fresh start logs once" same "$(column run step | sort | uniq -d)" ""
    check "a forced fresh start has other bits" test "$(bits run)" != "$kept"
fi

# --dry-run checks everything and makes nothing.
for ranks in 1 3; do
    launch $ranks train job.yaml --set name=dry --dry-run
    check "--dry-run on $ranks ranks" exits 0
    check "--dry-run makes nothing" test ! -e runs/dry
done

# The plan, for launches that are not there.
one plan job.yaml --ranks 5
check "plan" exits 0
one plan job.yaml --ranks 4 --json
check "plan --json" exits 0
if command -v python3 >/dev/null; then
    check "plan --json is JSON with figures" python3 -c '
import json, sys
plan = json.load(open(sys.argv[1]))
def numbers(x):
    if isinstance(x, dict): return sum(map(numbers, x.values()))
    if isinstance(x, list): return sum(map(numbers, x))
    return int(isinstance(x, (int, float)) and not isinstance(x, bool))
sys.exit(numbers(plan) < 4)' last.out
fi

# Help and schema, of the program as installed.
one --help
check "--help" exits 0
for verb in train eval ood generate prepare plan; do
    one $verb --help
    check "$verb --help" exits 0
    check "$verb --help says something" test -s last.out
done
one schema
check "schema" exits 0
check "schema has every key of the job" grep -q "microbatches" last.out
launch 2 train job.yaml --quiet --set name=quiet --set steps=5
check "--quiet" exits 0
check "--quiet is quiet" test ! -s last.out -a ! -s last.err
finish
