#!/bin/sh
# Who may include what: mpi.h belongs to runtime/, io/, exact/, the library's header (and tests);
# includes run one way:
# {cli, library} -> runtime -> {model, posterior -> optimizer, io} -> kernels -> base.
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
forbid base '(kernels|optimizer|posterior|model|io|runtime|cli)/'
forbid kernels '(optimizer|posterior|model|io|runtime|cli)/'
forbid optimizer '(posterior|model|io|runtime|cli)/'
forbid posterior '(model|io|runtime|bench|cli)/'
forbid bench 'cli/'
forbid model '(optimizer|posterior|io|runtime|cli)/'
forbid io '(posterior|runtime|cli)/'
forbid runtime '(bench|cli|library)/'
forbid library '(kernels/kernels|posterior|bench|cli)'
echo "${passed:-0} passed, $failed failed"
[ "$failed" -eq 0 ]
