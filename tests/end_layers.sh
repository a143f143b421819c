#!/bin/sh
# Who may include what: mpi.h belongs to runtime/, io/, exact/, the library's header (and tests);
# includes run one way:
# {cli, library} -> runtime -> {model, posterior -> optimizer, exact -> io} -> kernels -> base. BLACS and
# ScaLAPACK are named in exact/ alone.
set -eu
cd "$(dirname "$0")/.."
failed=0

# forbid FOLDER PATTERN: no file of FOLDER includes a header that matches PATTERN
forbid() {
    [ -d "$1" ] || return 0
    if grep -rnE "#include [<\"]($2)" "$1" --include='*.[ch]'; then
        echo "FAILED: $1 includes what it must not"
        failed=$((failed + 1))
    else
        passed=$((${passed:-0} + 1))
    fi
}

for folder in base kernels optimizer model bench cli posterior; do forbid "$folder" 'mpi\.h'; done
forbid base '(exact|kernels|optimizer|posterior|model|io|runtime|cli)/'
forbid kernels '(exact|optimizer|posterior|model|io|runtime|cli)/'
forbid optimizer '(exact|posterior|model|io|runtime|cli)/'
forbid posterior '(exact|model|io|runtime|bench|cli)/'
forbid bench 'cli/'
forbid model '(exact|optimizer|posterior|io|runtime|cli)/'
forbid io '(exact|posterior|runtime|cli)/'
forbid exact '(optimizer|posterior|model|runtime|bench|cli)/'
forbid runtime '(bench|cli|library)/'
forbid library '(kernels/kernels|posterior/|exact/|bench/|cli/)'
for folder in base kernels optimizer posterior model io runtime bench cli; do
    forbid "$folder" 'exact/(matrix_internal|scalapack)\.h'
    if grep -rniE '(Cblacs|pdgemr2d|pd(potr|syrk|syev|trsm|trtr)[a-z0-9]*)_?\(' "$folder" --include='*.[ch]'; then
        echo "FAILED: $folder calls ScaLAPACK"
        failed=$((failed + 1))
    fi
done
echo "${passed:-0} passed, $failed failed"
[ "$failed" -eq 0 ]
