#!/usr/bin/env bash
# The installed copy: what libvario exports and needs, programs in C, C++ and Fortran built against it
# by pkg-config and by CMake, a run's gradients replayed to that run's bits, man pages, completion.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/end_common.bash"
source=$(dirname "$here")
build=$(dirname "$program")
recorder=$build/tests/record_gradients
prefix=$work/prefix

# run NAME COMMAND...: output in last.out and last.err, one test that it succeeds.
run()
{
    local name=$1
    shift
    check "$name" quietly "$@"
}
quietly() { timeout --kill-after=10 "$patience" "$@" >"$work/last.out" 2>"$work/last.err" </dev/null; }
has() { grep -qE -- "$2" "$1" || { echo "    $2 expected in $1"; false; }; }
lacks() { ! grep -E -- "$2" "$1" || { echo "    $2 not expected in $1"; false; }; }

run "the build installs" cmake --install "$build" --prefix "$prefix"
library=$(find "$prefix" -name libvario.so)
PKG_CONFIG_PATH=$(dirname "$library")/pkgconfig
export PKG_CONFIG_PATH
flags=$(pkg-config --cflags vario)
libs="$(pkg-config --libs vario) -Wl,-rpath,$(dirname "$library") -lm"
nm -D "$library" >symbols
# A sanitized library wants its programs sanitized.
sanitizers=""
! grep -q __asan symbols || sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all"

# Symbols: the header's functions, versioned, and nothing else.
awk '$2 ~ /^[A-Z]$/ && $2 != "U" && $2 != "A" { print $3 }' symbols | sort >exported
sed -n 's/^VARIO_API .*[ *]\(vario_[a-z_]*\)(.*/\1@@VARIO_0.1/p' "$prefix/include/vario.h" |
    sort >promised
check "exports are the header's functions" diff promised exported
readelf -d "$library" >needed
check "its soname is versioned" has needed 'SONAME.*libvario\.so\.[0-9]'
check "it needs no library of the model's" lacks needed 'NEEDED.*(dnnl|yaml|scalapack|lapack|blas|pcre|archive)'
nm "$library" >inside
check "it has nothing of jobs and models" lacks inside ' [a-zA-Z] (job|schema|model|gpt2|mlp|yaml)_'

# compile COMPILER SOURCE OUT FLAG...
compile()
{
    local compiler=$1 from=$2 to=$3
    shift 3
    # shellcheck disable=SC2086
    run "$compiler $(basename "$from") by pkg-config" \
        $compiler "$@" $sanitizers -o "$to" "$from" $flags $libs
}
examples=$(find "$prefix" -type d -name examples)
strict="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
# shellcheck disable=SC2086
compile gcc "$examples/mlp.c" mlp -std=c17 -O2 -ffp-contract=off $strict
# shellcheck disable=SC2086
compile gcc "$here/library/replay.c" replay -std=c17 -O2 $strict
# shellcheck disable=SC2086
compile gcc "$here/library/errors.c" errors -std=c17 -O2 $strict
# shellcheck disable=SC2086
compile gcc "$here/library/locale.c" locale -std=c17 -O2 $strict

# The example learns, to the same bits on any number of ranks.
for ranks in 1 2 3; do
    run "the example on $ranks ranks" mpirun -n $ranks ./mlp "mlp-$ranks"
    check "it learns ($ranks ranks)" has last.out 'accuracy 0\.9[5-9].* 0\.9[5-9]|accuracy 1'
    [ $ranks -eq 1 ] || check "its bits on $ranks ranks" \
        cmp mlp-1/step-00001000/posterior.safetensors mlp-$ranks/step-00001000/posterior.safetensors
done
for ranks in 1 2 3; do
    run "errors are statuses on $ranks ranks" mpirun -n $ranks ./errors
    check "nothing is printed on $ranks ranks" test ! -s last.out -a ! -s last.err
done

# In a program whose decimal point is a comma.
mkdir locales
run "a German locale is made" localedef -i de_DE -f UTF-8 locales/de_DE.UTF-8
run "with a point" ./locale saved-point .
run "with a comma" env LOCPATH="$work/locales" LC_ALL=de_DE.UTF-8 ./locale saved-comma ,
check "the same checkpoint" diff -r saved-point saved-comma

# Gradients recorded from a run of vario end with that run's posterior.
sed -e "s|^name: .*|name: moons\noutput: $work/runs|" -e 's/^steps: .*/steps: 200/' \
    -e '$a checkpoint: {initial: true, keep: 0}\nparallel: {threads: 1}' \
    "$source/jobs/moons-ivon.yaml" >moons.yaml
sed -e 's/^name: .*/name: clipped/' -e 's/microbatches: 2/microbatches: 5/' \
    -e '$a clip: {norm: 0.5, scope: microbatch, update: 0.5}' moons.yaml >clipped.yaml
settings="ess=500 hessian_init=0.1 beta2=0.999 weight_decay=1e-4"

# replays RUN RANKS SHARD SETTING...: the library's checkpoint is the run's.
replays()
{
    local name=$1 ranks=$2 shard=$3 file
    shift 3
    rm -rf "replay-$name"
    run "$name is replayed on $ranks ranks, shard $shard" mpirun -n "$ranks" ./replay \
        "recorded-$name" "runs/$name/step-00000000" "replay-$name" "$shard" "$@"
    for file in "runs/$name/step-00000200"/*.safetensors; do
        check "$name: $(basename "$file") on $ranks ranks, shard $shard" cmp "$file" \
            "replay-$name/step-00000200/$(basename "$file")"
    done
    check "$name: no others" same "$(echo "replay-$name"/step-00000200/*.safetensors | wc -w)" \
        "$(echo "runs/$name"/step-00000200/*.safetensors | wc -w)"
}
sed -e 's/^name: .*/name: adamw/' -e 's/^optimizer: .*/optimizer: {kind: adamw, weight_decay: 0.01}/' \
    -e 's/peak: 1.0/peak: 0.01/; s/^eval: .*/eval: {every: 500}/' moons.yaml >adamw.yaml
for name in moons clipped adamw; do
    launch 2 train $name.yaml --quiet
    check "$name trains" exits 0
    mkdir "recorded-$name"
    run "$name is recorded" mpirun -n 1 "$recorder" $name.yaml "recorded-$name"
done
# shellcheck disable=SC2086
for ranks in 1 2 3; do
    replays moons $ranks 2 $settings
    replays clipped $ranks 2 $settings clip_norm=0.5 clip_update=0.5
done
replays adamw 3 2 optimizer=1 weight_decay=0.01
# shellcheck disable=SC2086
if ! $is_short; then
    replays clipped 1 0 $settings clip_norm=0.5 clip_update=0.5
    replays clipped 1 1 $settings clip_norm=0.5 clip_update=0.5
fi
# vario reads what the library wrote: a run's directory with the job of the model.
one eval runs/moons --samples 4 --json --quiet
sed 's/"run": "[^"]*"//' last.out >expected
cp runs/moons/job.yaml replay-moons/
one eval replay-moons --samples 4 --json --quiet
check "vario evaluates the library's checkpoint" exits 0
sed 's/"run": "[^"]*"//' last.out >found
check "and finds the same" cmp expected found
printf '\1' | dd of=replay-moons/step-00000200/posterior.safetensors bs=1 seek=1000 conv=notrunc 2>dd.err
check "a damaged checkpoint is refused" \
    eval '! quietly ./replay recorded-moons replay-moons/step-00000200 nowhere 2 '"$settings"
check "naming the tensor" has last.err "posterior.safetensors: tensor 'layers.1.weight' is altered"

# C and C++ by CMake.
mkdir project
cp "$examples/mlp.c" "$here/library/header.cpp" project/
cat >project/CMakeLists.txt <<EOF
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES CXX)
find_package(vario 0.1 REQUIRED)
add_executable(header header.cpp)
target_link_libraries(header PRIVATE vario::vario)
add_executable(mlp mlp.c)
target_link_libraries(mlp PRIVATE vario::vario m)
EOF
if command -v g++ >/dev/null; then
    run "CMake finds the package" cmake -G Ninja -S project -B project/build -DCMAKE_PREFIX_PATH="$prefix" \
        -DCMAKE_C_FLAGS="$sanitizers" -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Werror $sanitizers"
    run "CMake builds" cmake --build project/build
    run "a C++ program without MPI runs" project/build/header
    check "and learns" has last.out '^1\.00[0-9]* \+- 0\.'
fi

if command -v gfortran >/dev/null; then
    module=$(pkg-config --variable=fortran_module vario)
    # shellcheck disable=SC2086
    run "gfortran line.f90 by pkg-config" gfortran -std=f2018 -Wall -Werror -O2 $sanitizers \
        -o line "$module" "$examples/line.f90" $libs
    run "a Fortran program runs" ./line
    check "its slope" has last.out '^slope +(2\.0|1\.9).* \+- +0\.'
    check "its intercept" has last.out '^intercept +(1\.0|0\.9).* \+- +0\.'
    # shellcheck disable=SC2086
    run "gfortran errors.f90" gfortran -std=f2018 -Wall -Werror $sanitizers -o errors-fortran \
        $(mpifort --showme:compile) "$module" "$here/library/errors.f90" $libs $(mpifort --showme:link)
    run "errors are statuses in Fortran" ./errors-fortran
    check "nothing is printed in Fortran" test ! -s last.out -a ! -s last.err
fi

# Pages and completion, from the tables of --help.
pages=$(find "$prefix" -name 'vario*.1' | wc -l)
"$program" --help >help.txt
verbs=$(awk '/^  [a-z]/ { print $1 }' help.txt)
check "a page a verb, and one of all" same "$pages" "$(($(echo "$verbs" | wc -w) + 1))"
if command -v groff >/dev/null; then
    for page in $(find "$prefix" -name '*.1' -o -name '*.3'); do
        groff -man -Tutf8 -ww -z "$page" 2>>page.err || true
    done
    check "pages have no warnings" test ! -s page.err
    groff -man -Tascii -P-cbou "$(find "$prefix" -name vario-train.1)" >train.txt
    check "a page has the options of --help" has train.txt '^ +--set KEY=VALUE'
    groff -man -Tascii -P-cbou "$(find "$prefix" -name libvario.3)" >library.txt
    check "the library's page has its functions" has library.txt 'vario_status vario_step\('
fi
complete_words()
{
    # shellcheck disable=SC1090
    . "$(find "$prefix" -path '*bash-completion*' -name vario)"
    compopt() { :; }
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    _vario
    echo "${COMPREPLY[*]}"
}
check "verbs are completed" same "$(complete_words vario tr)" train
check "options are completed" same "$(complete_words vario train --dr)" --dry-run
check "keys are completed" same "$(complete_words vario train job.yaml --set optimizer.e)" \
    "optimizer.ess= optimizer.ess_final= optimizer.ess_course= optimizer.epsilon= optimizer.estimate_clip="
finish
