#!/usr/bin/env bash
# Files: what MPI-IO of others left on the machine stops nobody, a pipe is not waited for, and results
# never take the place of what they are made of.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${VARIO_UNSHARED:-}" ]; then # for a /dev/shm of its own, where that can be
    for how in --mount -rm; do
        unshare "$how" true 2>/dev/null || continue
        # shellcheck disable=SC2093
        VARIO_UNSHARED=yes exec unshare "$how" --propagation private "$0" "$@"
    done
    VARIO_UNSHARED=no
fi
. "$here/end_common.bash"
patience=60

make_data
write_job job.yaml run
sed -i 's/^steps: .*/steps: 6/; s/every: 10, keep/every: 3, keep/; s/every: 25/every: 0/' job.yaml

# As Open MPI leaves it when a process dies that opens such a file: with the value 0.
if [ "$VARIO_UNSHARED" = yes ] && mount -t tmpfs tmpfs /dev/shm 2>/dev/null; then
    for name in model posterior optimizer; do
        printf '\0\0\0\0\0\0\0\0\200\0\0\0' | cat - /dev/zero | head -c 32 \
            >/dev/shm/sem.OMPIO_$name.safetensors
    done
fi
launch 2 train job.yaml --quiet
check "stale semaphores of MPI-IO stop no run" exits 0
[ "$code" -eq 0 ] || finish
launch 2 export runs/run --out model
check "and no export" exits 0

refuse()
{
    local name=$1 words=$2
    shift 2
    one "$@"
    check "$name is refused" exits 2
    check "$name: why" grep -q "^vario: .*$words" last.err
}

# ---- pipes ----

mkfifo pipe.yaml
mkdir pipes
mkfifo pipes/config.json pipes/meta.json pipes/vocab.json pipes/merges.txt
cp data/train.bin pipes
refuse "a pipe as a job" "no regular file" train pipe.yaml --dry-run
refuse "a pipe among weights" "no regular file" import pipes --out runs/new
refuse "a pipe of a tokenizer" "no regular file" prepare text.txt --out new --tokenizer pipes
refuse "a pipe beside tokens" "no regular file" eval runs/run --data pipes/train.bin
mkfifo runs/run/evaluation.json
refuse "a pipe in a run" "no regular file" report runs/run
rm runs/run/evaluation.json

# ---- results over inputs ----

step=$(last_checkpoint run)
run_files() { (cd "$work/runs/run" && find . -type f ! -name .lock -exec sha256sum {} + | sort -k 2); }
before=$(run_files)
data=$(sha256sum data/*)
refuse "a checkpoint as a model's place" "lies in the checkpoint" export runs/run --out "$step" --force
refuse "a run as a model's place" "holds the input" export runs/run --out runs/run --force
refuse "metrics as a report" "a file of the run" report runs/run --out runs/run/metrics.csv
refuse "weights as a report" "lies in the checkpoint" report runs/run --out "$step/model.safetensors"
refuse "data as a table" "the input" eval runs/run --tokens data/val.bin
refuse "other data as a table" "the input" eval runs/run --data 'data/*.bin' --tokens data/train.bin
refuse "training data as a table" "the input" sensitivity runs/run --range 0-1 --csv data/train.bin
refuse "a run's own place for a merged one" "holds the input" merge "$step" runs/run --out runs/run --force
refuse "a job's place for an imported run" "holds the input" import model --job runs/run/job.yaml \
    --out runs/run --force
refuse "a checkpoint as a run" "lies in the checkpoint" curvature runs/run --out "$step/new" --force
check "the run is as it was" same "$(run_files)" "$before"

mkdir texts
cp text.txt texts/train.bin
cp text.txt texts/train_000002.bin
ln -s texts/train.bin link
refuse "a text as its own tokens" "holds the input" prepare texts/train.bin --out texts
refuse "a text as its own shard" "holds the input" prepare texts/train_000002.bin --out texts
refuse "a text through a link" "holds the input" prepare link --out texts
refuse "a run as the place of tokens" "the directory of a run" prepare text.txt --out runs/run
check "texts are as they were" cmp -s text.txt texts/train.bin
check "and so are data" same "$(sha256sum data/*)" "$data"
one prepare texts/train.bin --out tokens --learn 300
check "a text goes elsewhere" exits 0
learned=$(cat tokens/vocab.json tokens/merges.txt | sha256sum; stat -c %i tokens/vocab.json)
one prepare text.txt --out tokens --tokenizer tokens
check "a tokenizer stays where its tokens go" exits 0
check "as it was" same "$(cat tokens/vocab.json tokens/merges.txt | sha256sum; stat -c %i tokens/vocab.json)" "$learned"
finish
