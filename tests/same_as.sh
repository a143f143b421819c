#!/usr/bin/env bash
# Whether a change to the code changes a bit: small runs of every optimizer, precision and stage, and
# what the other verbs make of them, hashed.
#   tests/same_as.sh BEFORE AFTER    two programs, on any machine
#   tests/same_as.sh VARIO           against tests/fixtures/same_as.txt, on the machine that wrote it;
#                                    elsewhere bits are others, and it ends with 77
#   tests/same_as.sh VARIO --write   write that file
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
cd "$OLDPWD"
written=$here/fixtures/same_as.txt
after=
case ${2:-} in
    '' | --write) ;;
    *) after=$(cd "$(dirname "$2")" && pwd)/$(basename "$2") ;;
esac
[ -z "$after" ] || [ -x "$after" ] || { echo "$0: $after is no program" >&2; exit 2; }
cd "$work"

# Bytes as tokens of 16 bits; 20 windows to validate with, whatever becomes of a last small batch.
tokens() { iconv -f ASCII -t UTF-16LE; }
make_text 12000 | tokens >train.bin
make_text 700 | tokens | head -c $((2 * (20 * 32 + 1))) >valid.bin

# job NAME OPTIMIZER PEAK SECTION... : NAME.yaml, of a GPT-2 unless a section is a model.
job()
{
    local model='{kind: gpt2, n_layer: 2, n_head: 2, n_embd: 32, block_size: 32, vocab_size: 256}'
    local data="{train: $work/train.bin, valid: $work/valid.bin}" batch='{sequences: 2, length: 32, microbatches: 5}'
    local name=$1 optimizer=$2 peak=$3 section
    shift 3
    for section; do
        case $section in
            "model: "*)
                model=${section#model: }
                data='{train: "moons:0-199", valid: "moons:500-599"}'
                batch='{sequences: 20, microbatches: 3}'
                ;;
        esac
    done
    {
        printf 'name: %s\nseed: 7\noutput: runs\nsteps: 12\n' "$name"
        printf 'model: %s\ndata: %s\nbatch: %s\noptimizer: %s\n' "$model" "$data" "$batch" "$optimizer"
        printf 'schedule: {kind: cosine, peak: %s, warmup: 3}\n' "$peak"
        printf 'eval: {every: 6}\nlog: {every: 5}\ncheckpoint: {every: 12}\n'
        for section; do case $section in "model: "*) ;; *) printf '%s\n' "$section" ;; esac; done
    } >"$name.yaml"
}
shard() { echo "parallel: {threads: 1, shard: $1${2:+, wire: $2}}"; }
ivon='{kind: ivon, ess: 1.0e+6, hessian_init: 1.0e-3, beta2: 0.99, weight_decay: 1.0e-4'
bbb='{kind: bbb, ess: 1.0e+4, sigma_init: 0.01, weight_decay: 1.0e-2, mc_samples: 2}'
perceptron='model: {kind: mlp, inputs: 2, outputs: 2, hidden: [6, 5], activation: tanh, dropout: 0.1}'
linear='model: {kind: linear, inputs: 2, outputs: 2}'
job ivon-none '{kind: ivon, ess: 200, hessian_init: 0.1, beta2: 0.99, weight_decay: 1.0e-3}' 0.5 \
    "$(shard none)" "clip: {norm: 1.0, scope: step}" "$perceptron"
job ivon-gradients "$ivon, mc_samples: 2}" 2 "$(shard gradients)" "clip: {norm: 1.0, scope: microbatch}"
job ivon-parameters "$ivon, hessian: gradsq}" 2 "$(shard parameters bf16)" "precision: bf16"
job adamw-optimizer '{kind: adamw}' 1.0e-3 "$(shard optimizer)" "recompute: block"
job adamw-gradients '{kind: adamw}' 1.0e-3 "$(shard gradients bf16)" "precision: bf16"
job sgd-parameters '{kind: sgd, momentum: 0.9}' 0.1 "$(shard parameters)"
job swag-gradients '{kind: sgd}' 0.1 "$(shard gradients)" "swag: {start: 4, every: 2, rank: 3}" "$linear"
job swag-parameters '{kind: adamw}' 1.0e-2 "$(shard parameters)" "swag: {start: 4, every: 2, rank: 3}" "$perceptron"
job bbb-gradients "$bbb" 1.0e-3 "$(shard gradients)" "$perceptron"
job bbb-parameters "$bbb" 1.0e-3 "$(shard parameters bf16)" "precision: bf16"
jobs="ivon-none ivon-gradients ivon-parameters adamw-optimizer adamw-gradients sgd-parameters
    swag-gradients swag-parameters bbb-gradients bbb-parameters"

# says FILE RANKS ARGUMENT...: what a verb prints.
says()
{
    local file=$1 ranks=$2
    shift 2
    launch "$ranks" "$@" --quiet
    if [ "$code" -eq 0 ]; then
        cp "$work/last.out" "$file"
        return
    fi
    echo "$program $*: exit code $code: $(head -n 3 "$work/last.err")" >&2
    exit 1
}

# go_through: in $work all runs by $program, and what is made of them.
go_through()
{
    local name
    cd "$work"
    for name in $jobs; do
        says trained 2 train "../$name.yaml"
        case $name in
            adamw* | sgd*) says "eval-$name.json" 2 eval "runs/$name" --json ;;
            *) says "eval-$name.json" 2 eval "runs/$name" --samples 3 --json ;;
        esac
    done
    says exact-swag-gradients.json 2 exact runs/swag-gradients --prior 1 --bias-prior 1 --json
    says exact-swag-parameters.json 2 exact runs/swag-parameters --prior 1 --bias-prior 1 --json
    says exact-bbb-gradients.json 2 exact runs/bbb-gradients --leave-out gram --json
    says exact-ivon-gradients.json 2 exact runs/ivon-gradients --tensors h.1.ln_2,ln_f --bias-prior 1 --json
    says kfac.json 2 eval runs/swag-parameters --posterior kfac --samples 3 --json
    says ood.json 2 ood runs/bbb-gradients --out moons:900-999 --samples 3 --json
    says sensitivity.json 2 sensitivity runs/ivon-none --json
    says sensitivity-sequences.json 2 sensitivity runs/ivon-gradients --per sequence --range 0-9 --json
    says curvature.json 2 curvature runs/adamw-gradients --out runs/curvature --json
    says merge.json 2 merge runs/ivon-gradients runs/curvature --out runs/merge --json
    says text 1 generate runs/ivon-gradients --prompt "The whale" --tokens 40 --samples 2
    says exported 1 export runs/ivon-gradients --out runs/export
    rm trained exported
    sha256sum ./*.json text runs/*/*.safetensors runs/*/*/*.safetensors | sed 's|\./||' >sums
}

# start NAME PROGRAM: the same in a folder of that name, beside this script.
# shellcheck disable=SC2030,SC2031
start()
{
    mkdir "$1"
    (
        work=$work/$1
        program=$2
        go_through
    ) &
}

# What bits depend on beside the code.
machine()
{
    sed -n 's/^model name[^:]*: /# /p' /proc/cpuinfo | head -n 1
    sed -n 's/^ *"\(instruction_set\|libraries\)": \(.*\),$/# \1 \2/p' before/runs/ivon-none/step-*/state.json
}

# compare EXPECTED FOUND: a line for each file that differs, or is on one side alone.
compare()
{
    local name
    while read -r name; do
        check "$name" same "$(awk -v n="$name" '$2 == n { print $1 }' "$2")" \
            "$(awk -v n="$name" '$2 == n { print $1 }' "$1")"
    done < <(cat "$1" "$2" | awk '!/^#/ && !seen[$2]++ { print $2 }')
}

# shellcheck disable=SC2031
start before "$program"
lanes=$!
[ -z "$after" ] || { start after "$after"; lanes="$lanes $!"; }
for lane in $lanes; do wait "$lane" || failed=1; done
[ "$failed" -eq 0 ] || exit 1
if [ "${2:-}" = --write ]; then
    { machine; cat before/sums; } >"$written"
    echo "$(grep -vc '^#' "$written") hashes written to $written"
    exit 0
elif [ -n "$after" ]; then
    compare before/sums after/sums
elif [ "$(grep '^#' "$written")" = "$(machine)" ]; then
    compare "$written" before/sums
else
    echo "skipped: $written is of another machine, and so are its bits: give a program to compare with"
    exit 77
fi
finish
