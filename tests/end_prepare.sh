#!/usr/bin/env bash
# vario prepare: GPT-2's tokens of texts of every kind and packing, the same bytes for any number of
# threads and after any number of kills; a run keeps the tokenizer and writes text with it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"

make_text 300000 >text.txt
cat "$here/fixtures/tokenizer.txt" >>text.txt
head -c 4096 "$program" >bytes.txt # not UTF-8
$is_short && megabytes=1 || megabytes=6

tokens_of() { cat "$1"/train*.bin "$1"/val.bin | sha256sum | cut -c1-16; }
fact() { jq -r "$2" "$1/meta.json"; }

# prepared DIR ARGUMENT...: prepare into DIR, which must succeed.
prepared()
{
    local out=$1
    shift
    one prepare "$@" --out "$out"
    check "prepare $*" exits 0
}

# Learned from the texts; the same from 1 and from 3 threads, and as what was learned gives.
prepared learned text.txt bytes.txt --learn 600 --threads 1
check "600 tokens" same "$(fact learned .vocab_size)" 600
check "the last ends a document" same "$(fact learned .end_of_text)" 599
check "nothing is left behind" test ! -e learned/prepare.partial
prepared learned3 text.txt bytes.txt --learn 600 --threads 3
for file in train.bin val.bin vocab.json merges.txt meta.json; do
    check "$file of 3 threads" cmp learned/$file learned3/$file
done
prepared given text.txt bytes.txt --tokenizer learned
check "given or learned" same "$(tokens_of given)" "$(tokens_of learned)"

# The reference's tokens of its own text and back.
prepared fixture "$here/fixtures/tokenizer.txt" --tokenizer "$here/fixtures/tokenizer" --valid 0.001
cat fixture/train.bin fixture/val.bin | od -An -v -tu2 -w2 | tr -d ' ' >ids
check "ends a document" same "$(tail -n 1 ids)" 699
expected=$(sed -n 's/^{"all of the text", [0-9]*, 1, \([0-9]*\),.*/\1/p' "$here/fixtures/tokenizer.inc")
check "as many tokens as the reference" same "$(($(wc -l <ids) - 1))" "$expected"

# However it is packed, whatever the name says.
gzip -k text.txt
xz -k text.txt
zstd -q text.txt
cp text.txt.gz text.bin
for packed in text.txt.gz text.txt.xz text.txt.zst text.bin; do
    prepared packed $packed bytes.txt --tokenizer learned
    check "tokens of $packed" same "$(tokens_of packed)" "$(tokens_of learned)"
done
prepared plain text.txt
prepared plain_packed text.txt.xz
check "bytes of a packed text" same "$(tokens_of plain_packed)" "$(tokens_of plain)"
check "bytes have no tokenizer" test ! -e plain/vocab.json

# Lines of JSON: each is a document, as a file is.
mkdir documents
split -l 40 -d -a 4 text.txt documents/
for document in documents/*; do jq -Rsc '{id: 1, text: .}' <"$document"; echo "  "; done >lines.jsonl
prepared lines lines.jsonl --tokenizer learned --shard-tokens 20000
prepared files documents/* --tokenizer learned --shard-tokens 20000
check "a line is a document" same "$(tokens_of lines)" "$(tokens_of files)"
sed 's/"text"/"content"/' lines.jsonl | gzip >renamed.ndjson.gz
prepared renamed renamed.ndjson.gz --tokenizer learned --key content --shard-tokens 20000 --threads 2
check "another key, packed" same "$(tokens_of renamed)" "$(tokens_of files)"
prepared bytes_lines lines.jsonl
prepared bytes_files documents/*
check "bytes of lines" same "$(tokens_of bytes_lines)" "$(tokens_of bytes_files)"
check "shards of the size asked for" same "$(stat -c %s files/train_000001.bin)" 40000
check "all but the last" same "$(stat -c %s files/train_000002.bin)" 40000

# Killed again and again.
make_text $((megabytes * 1000000)) >long.txt
gzip -k long.txt
for how in "long.txt bytes.txt --tokenizer learned --threads 2" "long.txt.gz text.txt --learn 700 --threads 1"; do
    # shellcheck disable=SC2086
    prepared whole $how --shard-tokens 60000
    rm -rf killed
    kills=0
    code=137
    while [ $code -eq 137 ] && [ $kills -lt 60 ]; do
        code=0
        delay=$((40 + kills * kills * 8 % 97 + kills * 60)) # ms: a slow machine gets there too
        # shellcheck disable=SC2086
        timeout -s KILL "$((delay / 1000)).$(printf %03d $((delay % 1000)))" "$program" prepare $how \
            --out killed --shard-tokens 60000 >/dev/null 2>last.err || code=$?
        kills=$((kills + 1))
        # timeout does not wait for what it kills, which may still be letting go of the directory.
        [ $code -ne 2 ] || ! grep -q 'in use by another prepare' last.err || { code=137; sleep 0.2; }
    done 2>/dev/null # the shell tells of every kill
    check "finished after $kills tries" exits 0
    check "killed: $how" same "$(cd killed && sha256sum -- *)" "$(cd whole && sha256sum -- *)"
    rm -rf whole
done

# A shard that is in the way is found last; nothing is done twice.
one prepare text.txt --out killed --shard-tokens 1000000000
check "a file in the way" exits 2
check "is named" grep -q "killed/train_000001.bin: left by an earlier prepare" last.err
rm killed/train_*
one prepare text.txt --out killed --shard-tokens 1000000000
check "goes on without it" exits 0
check "says so" grep -q "notice: prepare: goes on after $(stat -c %s text.txt) tokens" last.err
check "with the tokens" same "$(tokens_of killed)" "$(tokens_of plain)"
check "its tokenizer went" test ! -e killed/vocab.json

# A run keeps its tokenizer.
write_job job.yaml bpe
sed -i "s|$work/data|learned|g; s/vocab_size: 256/vocab_size: 640/; s/steps: 50/steps: 10/" job.yaml
launch 2 train job.yaml
check "train on tokens" exits 0
check "the run has the tokenizer" cmp learned/vocab.json runs/bpe/vocab.json
mv learned elsewhere
one generate runs/bpe --prompt "The captain was" --tokens 40
check "generate" exits 0
check "begins with the prompt" grep -q "^The captain was" last.out
cp last.out text.out
# To a file: on the terminal that mpirun gives its ranks, bytes that are no UTF-8 are shown as \xNN.
# shellcheck disable=SC2016
timeout "$patience" mpirun -n 3 sh -c 'exec "$0" "$@" >text.$OMPI_COMM_WORLD_RANK' "$program" \
    generate runs/bpe/step-00000010 --prompt "The captain was" --tokens 40 2>last.err </dev/null || true
check "the same from a checkpoint on 3 ranks" cmp text.0 text.out
one generate runs/bpe --prompt "$(head -c 3000 text.txt)" --tokens 3
check "a prompt beyond the window" exits 0
one generate runs/bpe --prompt "$(printf 'caf\303 \377')" --tokens 3
check "a prompt that is not UTF-8" exits 0
one export runs/bpe --out exported
check "export" exits 0
check "with the run's tokenizer" cmp elsewhere/vocab.json exported/vocab.json
mv elsewhere learned

# The same tokenizer as tokenizer.json alone comes with weights, and goes on with them.
jq -n --slurpfile vocab exported/vocab.json --rawfile merges exported/merges.txt '{
    model: {type: "BPE", vocab: $vocab[0], merges: ($merges | split("\n") | .[1:-1])},
    pre_tokenizer: {type: "ByteLevel", add_prefix_space: false},
    added_tokens: [{id: 599, content: "<|endoftext|>", special: true}]}' >exported/tokenizer.json
echo '{"model_max_length": 32}' >exported/tokenizer_config.json
rm exported/vocab.json exported/merges.txt
tokenizer_files() { (cd "$1" && echo *token* *vocab* *merges*); }
one import exported --out runs/back --set data.train=learned/train.bin --set data.valid=learned/val.bin
check "import with tokenizer.json" exits 0
check "has its files" same "$(tokenizer_files runs/back)" "tokenizer.json tokenizer_config.json *vocab* *merges*"
one generate runs/back --prompt "The captain was" --tokens 40
check "writes the same text with it" cmp last.out text.out
sed "s|^name: .*|name: tuned|; s|n_layer: 2|init: exported, bias: true, n_layer: 2|" job.yaml >tuned.yaml
launch 2 train tuned.yaml
check "fine-tuning" exits 0
check "keeps them where the data say the same" cmp exported/tokenizer.json runs/tuned/tokenizer.json
one export runs/tuned --out exported-again
check "and exports them" same "$(tokenizer_files exported-again)" "$(tokenizer_files runs/back)"
prepared given-again text.txt bytes.txt --tokenizer runs/tuned
check "and they give the same tokens" same "$(tokens_of given-again)" "$(tokens_of learned)"
prepared other text.txt --learn 300
sed "s|^name: .*|name: other|; s|learned|other|g; s|init: exported|init: runs/tuned/step-00000010|" \
    tuned.yaml >other.yaml
one train other.yaml
check "data of another tokenizer" exits 0
check "are warned of" \
    grep -q "^warning: the training data's tokenizer is another than that of the weights" last.out
check "and the run has theirs" cmp other/vocab.json runs/other/vocab.json
check "alone" same "$(tokenizer_files runs/other)" "*token* vocab.json merges.txt"

# Tokens of two tokenizers that meet are warned of, and runs of two tokenizers are not made one.
warned() { exits 0 && grep -q "^\(vario: \)\?warning: $1's tokenizer is another than that of $2" last.err last.out -h; }
one eval runs/bpe --data other/val.bin
check "data of another tokenizer in eval" warned other/val.bin runs/bpe
one eval runs/bpe --data learned/val.bin --json
check "data of its own are not" test ! -s last.err
one ood runs/tuned --in learned/val.bin --out plain/val.bin
check "bytes in ood" warned plain/val.bin runs/tuned
one sensitivity runs/bpe --data other/val.bin --range 0-0
check "in sensitivity" warned other/val.bin runs/bpe
one train tuned.yaml --set data.train=plain/train.bin --dry-run
check "in --dry-run" warned "the training data" "the weights"
one eval runs/bpe runs/other --data other/val.bin
check "runs of two tokenizers do not predict together" exits 2
check "and are named" grep -q "^vario: runs/other's tokenizer is another than that of runs/bpe (runs/other: 300" last.err
one merge runs/tuned runs/other --method mean --out runs/mixed
check "nor merge" exits 2
check "and are named" grep -q "^vario: runs/other's tokenizer is another than that of runs/tuned" last.err
check "nothing is left" test ! -e runs/mixed
one merge runs/bpe --base runs/bpe --out runs/merged
check "merge" exits 0
check "a merged run has the tokenizer" cmp learned/merges.txt runs/merged/merges.txt
rm runs/merged/vocab.json
one generate runs/merged --prompt x
check "without a tokenizer" exits 2
check "says what is missing" grep -q "runs/merged: vocab.json and merges.txt" last.err

# refuse NAME PATTERN ARGUMENT...: exit code 2, one sentence, nothing left.
refuse()
{
    local name=$1 pattern=$2
    shift 2
    one prepare "$@" --out refused
    check "$name" exits 2
    check "$name: one sentence" same "$(grep -c . last.err)" 1
    check "$name: $pattern" grep -qE "^vario: .*($pattern)" last.err
    check "$name: nothing left" test ! -e refused
}
head -c 20000 text.txt.gz >torn.gz
head -c 20000 text.txt.xz >torn.xz
head -c 20000 text.txt.zst >torn.zst
for packed in torn.gz torn.xz torn.zst; do
    refuse "$packed" "$packed: byte [0-9]+ of the unpacked file: whole data expected" $packed
done
refuse "a torn text behind a whole one" "torn.gz: byte" text.txt torn.gz --tokenizer learned
head -n 9 lines.jsonl >bad.jsonl
echo '{"text": "abc' >>bad.jsonl
cat lines.jsonl >>bad.jsonl
refuse "a torn line" "bad.jsonl:10:[0-9]+: JSON expected" bad.jsonl --tokenizer learned --threads 3
{ head -n 3 lines.jsonl; head -c 20 /dev/zero; } >zeros.jsonl
refuse "a tail of zeros" "zeros.jsonl:4:" zeros.jsonl --tokenizer learned
refuse "the first of two" "bad.jsonl:10:" bad.jsonl torn.gz
{ head -n 3 lines.jsonl; echo '{"txt": 1}'; echo '["a"]'; } >keyless.jsonl
refuse "no text" "keyless.jsonl:4:1: an object with a string 'text' expected, none found" keyless.jsonl
refuse "another key" "lines.jsonl:1:1: an object with a string 'id' expected, another value found" \
    lines.jsonl --key id
printf '{"text": "a\377b"}\n{"text": "more and more"}\n' >latin.jsonl
refuse "a line that is not UTF-8" "latin.jsonl:1:[0-9]+: JSON expected" latin.jsonl
refuse "an absent tokenizer" "nowhere: No such file" text.txt --tokenizer nowhere
refuse "a directory without one" "documents: vocab.json and merges.txt, encoder.json" text.txt \
    --tokenizer documents
refuse "too few to learn" "--learn 256 found, 257 to 65536" text.txt --learn 256
refuse "too many to learn" "--learn 65537 found, 257 to 65536" text.txt --learn 65537
refuse "a text too short to learn from" "pairs that occur twice give [0-9]+ tokens, 60000 expected" \
    documents/0000 --learn 60000
refuse "learned and given" "--learn and --tokenizer" text.txt --learn 300 --tokenizer learned
refuse "too many threads" "--threads 5000 found" text.txt --threads 5000
finish
