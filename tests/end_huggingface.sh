#!/usr/bin/env bash
# Models from elsewhere and back: PyTorch's loss, the same bits on any number of ranks and after a
# way there and back, runs that train on, and what is refused before anything is written.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
fixture=$here/fixtures/huggingface
cp -r "$fixture" gpt2
settings="--set data.train=gpt2/valid.bin --set data.valid=gpt2/valid.bin --set batch.sequences=2 --set batch.microbatches=2
    --set steps=4 --set parallel.threads=1 --set optimizer.ess=1e6 --set schedule.peak=0.1"

# contents NAME: one hash of all that a run's first checkpoint and its job hold, state.json included.
contents()
{
    (cd "$work/runs/$1" && sha256sum job.yaml step-00000000/*) | sha256sum | cut -c1-16
}
member() { sed -n "s/.*\"$1\": *\"\{0,1\}\([-+0-9a-zA-Z._]*\).*/\1/p" "$work/last.out" | head -n 1; }
model_of() { echo "runs/$1/step-00000000/model.safetensors"; }

# Halves in two shards, under prefixed names, with a mask among them.
kept="" force=()
for ranks in 1 2 3; do
    # shellcheck disable=SC2086
    launch $ranks import gpt2 --out runs/half $settings --json "${force[@]}"
    check "shards of halves on $ranks ranks" exits 0
    [ -n "$kept" ] || { kept=$(contents half) checksum=$(member checksum); }
    check "the same bytes on $ranks ranks" same "$(contents half)" "$kept"
    check "the same checksum on $ranks ranks" same "$(member checksum)" "$checksum"
    force=(--force)
done
check "the job has the model's sizes" grep -q '^  vocab_size: 97' runs/half/job.yaml
check "and its biases" grep -q '^  bias: true' runs/half/job.yaml
check "the event says from where" grep -q "\"event\": \"imported\", \"source\": \"gpt2\", \"checksum\": \"$checksum\"" \
    runs/half/events.jsonl
check "the checkpoint knows the checksum" grep -q "\"init_checksum\": \"$checksum\"" runs/half/step-00000000/state.json
launch 2 eval runs/half --json
check "an imported run evaluates" exits 0
check "with PyTorch's loss" near "$(member valid_loss)" "$(cat gpt2/loss.txt)" 1e-5
launch 2 eval runs/half --json --samples 2
check "it has a posterior" exits 0

# llm.c's file has the same numbers, the other way round.
# shellcheck disable=SC2086
launch 2 import gpt2/gpt2.bin --out runs/llmc $settings --quiet
check "a checkpoint of llm.c" exits 0
check "--quiet is quiet" test ! -s last.out -a ! -s last.err
check "holds the same bits" cmp -s "$(model_of llmc)" "$(model_of half)"

# Out and in again.
for ranks in 1 3; do
    launch $ranks export runs/half --out out/$ranks --json
    check "export on $ranks ranks" exits 0
    check "the run's weights on $ranks ranks" cmp -s out/$ranks/model.safetensors "$(model_of half)"
done
check "the same files" diff -r out/1 out/3
check "config.json says what it is" grep -q '"model_type": "gpt2", "architectures": \["GPT2LMHeadModel"\]' out/1/config.json
check "generation_config.json is there" test -s out/1/generation_config.json
check "nothing else is left" same "$(cd out/1 && echo * .exporting*)" \
    "config.json generation_config.json model.safetensors posterior.safetensors .exporting*"
# shellcheck disable=SC2086
launch 2 import out/1 --out runs/again $settings
check "import of an export" exits 0
check "the same bits back" cmp -s "$(model_of again)" "$(model_of half)"
if /usr/bin/python3 -c 'import torch' 2>/dev/null; then
    check "PyTorch has the loss of the export" near \
        "$(/usr/bin/python3 "$here/fixtures/make_huggingface_fixture.py" out/1 gpt2/valid.bin)" "$(cat gpt2/loss.txt)" 1e-5
fi

# A run without biases: zeros go out, and come in as none; deviations are those of the checkpoint.
make_data
write_job job.yaml plain
launch 2 train job.yaml
check "a run without biases" exits 0
launch 2 eval runs/plain --json
loss=$(member valid_loss)
launch 2 export runs/plain --out plain
check "it is exported" exits 0
check "with biases" grep -q '"h.1.mlp.c_proj.bias"' plain/model.safetensors
check "with deviations of these too" grep -q '"h.1.mlp.c_proj.bias"' plain/posterior.safetensors
check "the run keeps the bytes' tokenizer" cmp plain/tokenizer.json runs/plain/tokenizer.json
check "with a tokenizer of bytes" grep -q '"use_regex": false' plain/tokenizer.json
if command -v jq >/dev/null; then
    check "whose vocabulary is whole" same "$(jq '.model.vocab | [length, .["A"], .["\u0120"], ([.[]] | add)] | @csv' plain/tokenizer.json)" \
        '"256,65,32,32640"'
fi
launch 2 import plain --out runs/plain-again --job job.yaml
check "and comes back" exits 0
check "without biases" grep -q '^  bias: false' runs/plain-again/job.yaml
check "with the same bits" cmp -s "$(model_of plain-again)" "$(last_checkpoint plain)/model.safetensors"
launch 1 import plain --out runs/as-is --set data.train=data/train.bin --set data.valid=data/val.bin
check "without a job too" grep -q '^  bias: false' runs/as-is/job.yaml
launch 1 import plain --out runs/biased --job job.yaml --set model.bias=true
check "or with biases" exits 0
launch 2 eval runs/biased --json
check "with the same loss" near "$(member valid_loss)" "$loss" 1e-6
launch 2 export runs/plain --out plain
check "files of a model are not replaced" exits 2
check "and said to be there" grep -q '^vario: plain/model.safetensors: found.*--force' last.err
echo read >plain/README.md
launch 2 export runs/plain/step-00000040 --out plain --force
check "but by force" exits 0
check "others are left alone" test -s plain/README.md
check "the checkpoint named" cmp -s plain/config.json runs/plain/step-00000040/config.json

mkdir kept
echo mine >kept/tokenizer.json
launch 2 export runs/plain --out kept
check "a tokenizer is not replaced" exits 2
check "and said to be there, too" grep -q '^vario: kept/tokenizer.json: found.*--force' last.err
check "nothing is left beside it" same "$(ls -A kept) $(cat kept/tokenizer.json)" "tokenizer.json mine"

# Tokenizers that the weights came with go with them.
check "an import has the tokenizer" cmp plain/tokenizer.json runs/as-is/tokenizer.json
launch 1 generate runs/plain --prompt "$(printf 'caf\303 \377')" --tokens 20
cp last.out text.out
launch 2 generate runs/as-is --prompt "$(printf 'caf\303 \377')" --tokens 20
check "and writes with it what the run writes" cmp last.out text.out
launch 1 train runs/as-is/job.yaml --set steps=2
check "an import trains on" exits 0
check "and keeps its tokenizer" cmp plain/tokenizer.json runs/as-is/tokenizer.json
for file in tokenizer.json vocab.json merges.txt; do echo '{}' >gpt2/$file; done
launch 1 export runs/half --out out/tokens
check "the tokenizer's files go along" \
    test -s out/tokens/tokenizer.json -a -s out/tokens/vocab.json -a -s out/tokens/merges.txt

# AdamW has no posterior; a job begins with what is elsewhere, and says so.
write_job tuned.yaml tuned adamw
sed -i "s|^model: .*|model: {n_layer: 2, n_head: 2, n_embd: 16, block_size: 16, vocab_size: 97, bias: true, init: gpt2}|
    s|^data: .*|data: {train: gpt2/valid.bin, valid: gpt2/valid.bin}|; s|length: 32|length: 16|; s|^steps: .*|steps: 6|" tuned.yaml
launch 2 train tuned.yaml
check "model.init" exits 0
check "is in the events" grep -q "\"event\": \"init\", \"checksum\": \"$checksum\"" runs/tuned/events.jsonl
check "and in checkpoints" grep -q "\"init_checksum\": \"$checksum\"" "$(last_checkpoint tuned)/state.json"
launch 2 export runs/tuned --out tuned
check "export without a posterior" test -s tuned/model.safetensors -a ! -e tuned/posterior.safetensors
mv gpt2 elsewhere
launch 2 train tuned.yaml --set data.train=elsewhere/valid.bin
check "data is what it was" exits 2
mv elsewhere gpt2
mkdir aside
mv gpt2/model* aside
launch 2 train tuned.yaml --set steps=8
check "going on needs no weights from elsewhere" exits 0
check "and keeps the checksum" grep -q "\"init_checksum\": \"$checksum\"" "$(last_checkpoint tuned)/state.json"
mv aside/* gpt2
launch 2 train runs/half/job.yaml --set steps=8
check "an imported run trains on" exits 0
check "from its own weights" grep -q 'resumed from step 0 ' last.out last.err

# refuse NAME PATTERN ARGUMENT...: exit code 2 and one sentence, nothing written; every third of them
# on 3 ranks too.
number=0
refuse()
{
    local name=$1 pattern=$2 ranks
    shift 2
    number=$((number + 1))
    for ranks in 1 3; do
        [ $ranks -eq 1 ] || { [ $((number % 3)) -eq 1 ] && ! $is_short; } || continue
        if [ $ranks -eq 1 ]; then one "$@"; else launch $ranks "$@"; fi
        check "$name ($ranks ranks)" exits 2
        check "$name is said ($ranks ranks)" grep -qE -e "^vario: .*$pattern" last.err
        check "$name is said once ($ranks ranks)" same "$(grep -c '^vario: ' last.err)" 1
    done
    check "nothing is left of $name" test ! -e runs/new -a ! -e new
}
# damaged NAME PATTERN COMMAND...: an import of a copy that the command changed.
damaged()
{
    local name=$1 pattern=$2
    shift 2
    rm -rf bad
    cp -r gpt2 bad
    (cd bad && "$@")
    refuse "$name" "$pattern" import bad --out runs/new
}
damaged "a missing shard" "bad/model-00002-of-00002.safetensors: No such file.*index.json names it" rm model-00002-of-00002.safetensors
damaged "a torn shard" "bad/model-00002-of-00002.safetensors: truncated in tensor '" truncate -s 12000 model-00002-of-00002.safetensors
damaged "an index that is none" "index.json: .*'weight_map' expected" truncate -s 500 model.safetensors.index.json
damaged "another type" "tensor 'wpe.weight': dtype F32, F16 or BF16 expected, I16 found" \
    sed -i '0,/wpe.weight": {"dtype": "F16"/s//wpe.weight": {"dtype": "I16"/' model-00001-of-00002.safetensors
damaged "another shape" "tensor 'wte.weight': shape \[97, 16\] expected, \[16, 97\] found" \
    sed -i 's/"shape": \[97, 16\]/"shape": [16, 97]/' model-00001-of-00002.safetensors
damaged "a missing tensor" "index.json: tensor 'wpe.weight' expected, not found|'transformer.wpx.weight' found" \
    sed -i 's/wpe.weight/wpx.weight/' model-00001-of-00002.safetensors model.safetensors.index.json
damaged "another architecture" "bad/config.json: 'model_type' is \"llama\", \"gpt2\" expected" sed -i 's/"gpt2"/"llama"/' config.json
damaged "another activation" "'activation_function' is \"relu\"" sed -i 's/gelu_new/relu/' config.json
damaged "no config.json" "bad/config.json: No such file" rm config.json
rm -rf bad
refuse "an empty place" "nowhere/config.json: No such file" import nowhere --out runs/new
head -c 30000 gpt2/gpt2.bin >torn.bin
refuse "a torn checkpoint of llm.c" "torn.bin: truncated: 35584 bytes expected, 30000 found" import torn.bin --out runs/new
refuse "a file of something else" "gpt2/valid.bin: a directory with model.safetensors, or a checkpoint of llm.c, expected" import gpt2/valid.bin --out runs/new
refuse "no result's name" "--out NEWRUN expected" import gpt2
refuse "an existing run" "runs/plain: a run with checkpoints.*--force" import gpt2 --out runs/plain
refuse "a job of another model" "config.json: 'n_head'|tensor 'wte.weight': shape" import gpt2 --out runs/new --job job.yaml
refuse "another number of heads" "'n_head' is 2, 4 expected" import gpt2 --out runs/new --set model.n_head=4
refuse "an unknown key" "unknown key 'stepz'" import gpt2 --out runs/new --set stepz=1
refuse "heads of other weights in a job" "'n_head' is 2, 4 expected" train tuned.yaml --set name=heads --set model.n_head=4
refuse "weights from nowhere, dry" "nowhere/model.safetensors: No such file" train tuned.yaml --dry-run --set name=new --set model.init=nowhere
refuse "no directory for an export" "--out DIR expected" export runs/half
refuse "an export below a file" "job.yaml" export runs/half --out job.yaml/new
refuse "an export of nothing" "runs/four: a run directory expected" export runs/four --out new
cat >line.yaml <<LINE
name: line
output: $work/runs
model: {kind: linear, inputs: 1, outputs: 1, loss: gaussian}
data: {train: "curve:0-9", valid: "curve:10-19"}
batch: {sequences: 2}
steps: 2
parallel: {threads: 1}
LINE
launch 1 train line.yaml
check "a line" exits 0
refuse "an export of a line" "a run of gpt2 expected, model.kind is linear" export runs/line --out new
finish
