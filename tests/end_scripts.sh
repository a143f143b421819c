#!/usr/bin/env bash
# The scripts where paths have blanks and quotes, and names that a shell or gnuplot would run: from a
# checkout of that kind, with programs that only say how they were called.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tests/end_common.bash
. "$root/tests/end_common.bash"
checkout="$work/it's a \$(touch RUN) copy"
mkdir -p "$checkout/build/release" "$checkout/io/files" "$checkout/data" stubs
cp -r "$root/scripts" "$root/slurm" "$checkout"
cp "$root/io/files/plot_style.inc" "$checkout/io/files"
export PATH=$work/stubs:$PATH TOLD=$work/told

# stub FILE LINE...: a program that appends its arguments to $TOLD, each in brackets, then does LINEs
stub()
{
    local file=$1
    shift
    printf '%s\n' '#!/bin/bash' 'printf "[%s]" "${0##*/}" "$@" >>"$TOLD"; echo >>"$TOLD"' "$@" >"$file"
    chmod +x "$file"
}
told() { grep -qF -e "$1" "$TOLD" || { echo "    $1 expected, found:"; sed 's/^/    /' "$TOLD"; false; }; }
ran_nothing() { [ -z "$(find "$work" -name 'RUN*')" ] || { echo "    a command was run"; false; }; }
is_png() { [ "$(head -c 4 "$1" 2>/dev/null | tail -c 3)" = PNG ]; }
: >"$TOLD"

# Pictures.
for name in "|touch RUN;.png" "\`touch RUN\`.png" "it's a.png" "'.system('touch RUN').'.png"; do
    # shellcheck disable=SC2016
    echo 'set title words noenhanced; plot x title words' |
        "$checkout/scripts/plot" "$name" 300 200 'words=`touch RUN`'\''.system("touch RUN").'\''!' >last.out 2>last.err || true
    check "a picture called $name" is_png "$name"
done
check "plot runs nothing" ran_nothing

# A scaling study, of the runs that are there. The first command of `resolved` is the real program.
study() { code=0; VARIO=$program VARIO_LAUNCH=mpirun "$checkout/slurm/scaling.sh" --gather "$@" >last.out 2>last.err || code=$?; }
write_study() # OUTPUT
{
    local run
    for run in strong-1 weak-1; do
        mkdir -p "$1/a-scaling/$run"
        echo '{"ranks": 1}' >"$1/a-scaling/$run/events.jsonl"
        printf '%s\n' step,tokens,seconds,comm_fraction,bytes_sent 10,100,1,0,0 20,200,2,0,0 30,300,3,0,0 >"$1/a-scaling/$run/metrics.csv"
    done
    sed "s|^output:.*|output: \"$1\"|" job.yaml >"study.yaml"
}
head -c 64 /dev/zero >t.bin
cat >job.yaml <<'Y'
name: a
output: runs
model: {n_layer: 1, n_head: 1, n_embd: 4, block_size: 4, vocab_size: 256}
data: {train: t.bin, valid: t.bin}
batch: {sequences: 1, length: 4, microbatches: 1}
steps: 2
optimizer: {kind: ivon, ess: 1000.0}
Y
write_study "a=b my 50% runs"
study study.yaml 1
check "a scaling study of runs with a blank" exits 0
check "its figure" is_png "a=b my 50% runs/a-scaling/scaling.png"
check "its rows" test "$(cut -d, -f 1-6 "a=b my 50% runs/a-scaling/scaling.csv" | tail -n +2 | tr '\n' ' ')" = \
    "strong,1,1,10,0.1,100 weak,1,1,10,0.1,100 "
write_study "r; touch RUN; x"
study study.yaml 1
check "a scaling study of a job with a command" exits 2
# shellcheck disable=SC2016
study job.yaml '1 a[$(touch RUN)]'
check "a scaling study on a command" exits 2
check "which says so" grep -q "numbers of nodes expected" last.err
check "a scaling study runs nothing" ran_nothing

# One that cannot be run is refused before anything is queued.
stub stubs/sbatch 'echo 1'
code=0
VARIO=$program VARIO_LAUNCH=mpirun "$checkout/slurm/scaling.sh" job.yaml "1 2" --ntasks-per-node=2 >last.out 2>last.err || code=$?
check "a scaling study of too many ranks" exits 2
check "which says how many there may be" grep -q "2 ranks found, at most 1 expected" last.err
check "nothing was queued" test "$(grep -c sbatch "$TOLD")" = 0
: >"$TOLD"

# The batch scripts: SLURM says where they are, the program beside them is taken.
# shellcheck disable=SC2016
stub "$checkout/build/release/vario" 'case "$*" in
*--dry-run*) printf "name: \"a\"\noutput: \"my runs\"\n" ;;
*) mkdir -p "my runs/a"; echo "{\"event\": \"finished\"}" >>"my runs/a/events.jsonl" ;;
esac'
# batch SCRIPT ARGUMENT...: as SLURM runs it
batch()
{
    local script=$1
    shift
    stub stubs/scontrol "printf '   Command=%s\n   Command=no\n' \"\$SCRIPT $*\""
    code=0
    : >"$TOLD"
    SLURM_JOB_ID=1 SLURM_ARRAY_TASK_ID=1 SCRIPT=$checkout/slurm/$script VARIO_LAUNCH=env \
        bash "$checkout/slurm/$script" "$@" >last.out 2>last.err || code=$?
}
batch train.sbatch "my job.yaml" --set "output=x/train.sbatch y"
check "train.sbatch in a path with blanks" exits 0
check "its arguments" told "[vario][train][my job.yaml][--set][output=x/train.sbatch y]"
sed 's/-N 1 -n 1//' "$checkout/slurm/common.bash" >common && mv common "$checkout/slurm/common.bash" # env has none
batch sweep.sbatch "my job.yaml" "seed=1,2 x" "model.init=a"
check "sweep.sbatch in a path with blanks" exits 0
check "its arguments" told "[vario][train][my job.yaml][--set][seed=2 x][--set][model.init=a][--set][name=a-seed=2_x-model.init=a]"
batch tune.sbatch "my job.yaml" --key "model.init=a b,c"
check "tune.sbatch in a path with blanks" exits 0
check "its arguments" told "[vario][tune][my job.yaml][--key][model.init=a b,c]"
printf '#!/bin/sh\necho "$VARIO" "$@" >>"$TOLD"\n' >"$checkout/scripts/reproduce"
batch reproduce.sbatch language
check "reproduce.sbatch in a path with blanks" told "$checkout/build/release/vario language"

# The quickstart of files with blanks.
: >"$TOLD"
printf '#!/bin/sh\n' >"$checkout/scripts/install"
for tool in cmake mpirun jq; do stub stubs/$tool; done
stub "$checkout/build/release/vario"
mkdir -p "$checkout"/runs/quickstart-{evon,ivon,adamw} "my texts"
touch "$checkout"/runs/quickstart-{evon,ivon,adamw}/{metrics.csv,events.jsonl} "my texts/a  b.txt" ./-c.txt
"$checkout/scripts/quickstart" "my texts/a  b.txt" -c.txt >last.out 2>last.err || true
check "quickstart of texts with blanks" told "[vario][prepare][$work/my texts/a  b.txt][$work/-c.txt][--out][data/manual]"

# The program's own path has a blank, and the table looks like an assignment of awk's.
# shellcheck disable=SC2016
stub "$checkout/build/release/vario" 'while [ $# -gt 1 ]; do shift; [ "$1" != --csv ] || csv=$2; done
[ -z "${csv:-}" ] || printf "index,mislabelled,loss,loo_loss,sensitivity,error\n0,0,1,2,3,4\n1,0,2,4,5,6\n" >"$csv"'
"$checkout/scripts/leave-one-out" "{} job.yaml" 2 table=1.csv "name=x y" >last.out 2>last.err || true
check "leave-one-out in a path with blanks" told "[vario][train][{} job.yaml][--set][name=x y]"
check "its table" grep -q "rank correlations over 1 retrained examples" last.out

# Another trainer, measured in a checkout of any name: the command is a shell's.
: >"$TOLD"
mkdir -p "$work/it's a trainer" && stub stubs/make
stub "$work/it's a trainer/train_gpt2" 'for i in 1 2 3 4; do echo "step $i: train loss 1 (took 100 ms)"; done'
"$checkout/scripts/bench" --llmc "$work/it's a trainer" peers >last.out 2>last.err || true
command=$(sed -n '/--llmc/,$p' "$TOLD" | tr '\n' ' ' | sed 's/\]\[peers\].*//; s/.*\[--llmc\]\[//')
check "bench of a trainer in a path with a quote" test "$(sh -c "$command")" = '{"tokens_per_second": 2560.0}'
check "nothing of a path was run" ran_nothing
finish
