#!/usr/bin/env bash
# What the pages name is there: files and folders, keys of jobs, verbs and their options, scripts,
# links and headings, functions and variables, columns and events. Files are looked up in comments too.
# Code of a page is what stands in backquotes, in indented lines and in fences.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tests/end_common.bash
. "$root/tests/end_common.bash"
cd "$root"
pages=(README.md SECURITY.md CONTRIBUTING.md docs/*.md)
rooms=()
for room in .ci */; do
    case $room in build/ | runs/ | data/) ;; *) rooms+=("${room%/}") ;; esac
done
tops=$(IFS='|' && echo "${rooms[*]}")

# none NAME: what stands in $found, a line each, must not be there
none()
{
    local what=$1
    [ -z "$found" ] || echo "    ${found//$'\n'/$'\n'    }"
    check "$what" test -z "$found"
    found=
}
miss() { found+=${found:+$'\n'}$*; }
found=

# Each piece of code with its place: "PAGE:LINE<tab>CODE".
awk '
    function told(text) { gsub(/[ \t]+/, " ", text); print place "\t" text }
    function paragraph(    n, i, piece) {
        n = split(text, piece, "`")
        for (i = 2; i <= n; i += 2) told(piece[i])
        text = ""
    }
    FNR == 1 { fenced = 0 }
    /^```/ { fenced = !fenced; next }
    fenced || /^    / && text == "" || /^    / && text ~ /\\ $/ {
        place = FILENAME ":" FNR
        sub(/ # .*/, "")
        if (/\\$/) { line = line substr($0, 1, length($0) - 1); next }
        told(line $0); line = ""
        next
    }
    /^$/ { paragraph(); next }
    { if (text == "") place = FILENAME ":" FNR; text = text $0 " " }
    END { paragraph() }' "${pages[@]}" >"$work/code"
check "code was found in the pages" test "$(wc -l <"$work/code")" -ge 500

# Files: words that begin with a room. NAME, VERB and * stand for anything.
exists()
{
    local path=${1//NAME/'*'}
    compgen -G "${path//VERB/'*'}" >/dev/null
}
files=0
while IFS=: read -r file line path; do
    path=${path#"\$root/"}
    path=${path#../}
    path=${path#[^A-Za-z.]}
    path=${path%[.,]}
    files=$((files + 1))
    exists "$path" || miss "$file:$line: $path"
done < <({
    grep -HnoE "(^|[^A-Za-z0-9_./*{}\$-])($tops)/[A-Za-z0-9_.*/-]*[A-Za-z0-9_*/]" "${pages[@]}"
    grep -rnoIE "(^|[^A-Za-z0-9_./*{}\$\"-]|\\\$root/|\.\./)($tops)(/[a-z0-9_-]+)+\.(c|h|md|sh|bash|py|inc|yaml|txt)\b" \
        "${rooms[@]}" CMakeLists.txt --exclude-dir=docs
} | grep -v ':[^A-Za-z]*slurm/env.sh$') # which a site writes
none "files that pages and comments name"
check "files were looked up" test $files -ge 200

# Other files by their names alone: code, and tests without an ending.
find "${rooms[@]}" -type f -printf '%f\n' | sed 'p; s/\..*//' | sort -u >"$work/names"
ls >>"$work/names"
while IFS=: read -r file line name; do
    grep -qxF "${name#[^a-z]}" "$work/names" || miss "$file:$line: ${name#[^a-z]}"
done < <(grep -HnoE '(^|[^A-Za-z0-9_./*-])([a-z][a-z0-9_-]*\.(c|h|sh|py|sbatch|bash|md)|(test|end|stress)_[a-z0-9_]+)\b' \
    "${pages[@]}" | grep -vE '[^a-z]?(llm\.c|env\.sh|mpi\.h)$') # of others
none "files that pages name without their folder"

# Keys, with the values of choices. "key value|value|..." of each, "-" where anything goes.
"$program" schema | awk 'NR > 1 { values = "-"
    if ($2 == "choice" && match($0, /\[[^\]]*\]$/)) values = substr($0, RSTART + 1, RLENGTH - 2)
    print $1, values }' >"$work/keys"
sections=$(sed -n 's/\..*//p' "$work/keys" | sort -u | paste -sd '|')
sed -nE 's/^([^\t]*)\t(.*)/\1 \2/p' "$work/code" | awk -v sections="$sections" '
    NR == FNR { values[$1] = $2; next }
    function told(key, value) {
        count++
        if (!(key in values)) print place ": " key
        else if (value != "" && values[key] != "-" && value !~ /^[A-Z]+$/ &&
                 !index("|" values[key] "|", "|" value "|")) print place ": " key ": " value
    }
    {
        place = $1; rest = $0; sub(/^[^ ]* /, "", rest)
        text = " " rest; gsub(/unknown key .[a-z_.]+/, "", text)
        # section.key, section.key: value, section.key=value; not file names, not what goes on
        while (match(text, "[^A-Za-z0-9_/.$-](" sections ")\\.[a-z_0-9]+")) {
            key = substr(text, RSTART + 1, RLENGTH - 1); text = substr(text, RSTART + RLENGTH)
            if (key ~ /\.(md|safetensors|png|csv)$/ || text ~ /^[.(\/]/) continue
            value = ""
            if (match(text, /^(: |=)[a-z0-9_]+/)) { value = substr(text, 1, RLENGTH); sub(/^(: |=)/, "", value) }
            told(key, value)
        }
        # section: {key: value, key: value}
        text = " " rest
        while (match(text, "[^A-Za-z0-9_](" sections "): \\{[^}]*\\}")) {
            part = substr(text, RSTART + 1, RLENGTH - 2); text = substr(text, RSTART + RLENGTH)
            section = part; sub(/:.*/, "", section); sub(/^[^{]*\{/, "", part)
            gsub(/\[[^\]]*\]/, "", part)
            n = split(part, pairs, /, */)
            for (i = 1; i <= n; i++) { split(pairs[i], two, /: */); told(section "." two[1], two[2]) }
        }
    }
    END { if (count < 150) print count " keys in all the pages" }' "$work/keys" - >"$work/wrong"
found=$(cat "$work/wrong")
none "keys of jobs that pages name"

# Verbs, and the options behind them, from the completion that the tables of --help make; those of
# scripts stand in their text.
"$program" --manuals "$work/manuals"
sed -nE 's/^ +([a-z]+)\) words="(.*)" ;;$/\1 \2/p' "$work/manuals/completion/vario" >"$work/verbs"
check "verbs were found" test "$(wc -l <"$work/verbs")" -ge 16
awk '{ for (i = 2; i <= NF; i++) print $1, $i }' "$work/verbs" >"$work/options"
for option in --help --version --manuals; do echo "- $option"; done >>"$work/options"
for script in scripts/* slurm/* tests/same_as.sh; do
    grep -ohE -e '--[a-z][a-z-]+' "$script" | sort -u | sed "s|^|$script |"
done >>"$work/options"
awk -F '\t' -v verbs="$(cut -d ' ' -f 1 "$work/verbs" | paste -sd ' ')" '
    BEGIN { n = split(verbs, list, " "); for (i = 1; i <= n; i++) verb[list[i]] = 1 }
    NR == FNR { split($0, two, " "); has[$0] = 1; any[two[2]] = 1; next }
    function check(who, text) {
        gsub(/"[^"]*"/, "TEXT", text)
        sub(/( [|>]|;| && |\)| -- ).*/, "", text)
        while (match(text, /(^|[ \[])--[a-z][a-z-]*/)) {
            option = substr(text, RSTART, RLENGTH); sub(/^[ \[]/, "", option)
            text = substr(text, RSTART + RLENGTH)
            count++
            if (!((who " " option) in has)) print $1 ": " who " " option
        }
    }
    {
        text = " " $2
        while (match(text, /[ \/]vario (--)?[a-z]+/)) {
            word = substr(text, RSTART + 7, RLENGTH - 7); text = substr(text, RSTART + RLENGTH)
            follows = text; sub(/[ \/]vario .*/, "", follows)
            if (word ~ /^--/) check("-", word)
            else if (word in verb) { check(word, follows); seen[word] = 1 }
            else print $1 ": vario " word
        }
        if (match($2, /^(scripts|slurm)\/[a-z.-]+/)) check(substr($2, RSTART, RLENGTH), substr($2, RLENGTH + 1))
        else if ($2 ~ /^--[a-z-]+/) {
            option = $2; sub(/[^a-z-].*/, "", option)
            if (!(option in any)) print $1 ": " option
        }
    }
    END {
        for (word in verb) if (!(word in seen)) print "no page names vario " word
        if (count < 80) print count " options in all the pages"
    }' "$work/options" "$work/code" >"$work/wrong"
found=$(cat "$work/wrong")
none "verbs and options that pages name"

# Links lead to a file, and to a heading as the web shows it.
anchors() { sed -n 's/^#* *//p' <(grep -E '^#+ ' "$1") | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9 _\n-' | tr ' ' '-'; }
links=0
while IFS=: read -r page line link; do
    link=${link#](}
    link=${link%)}
    links=$((links + 1))
    to=${link%%#*}
    to=$(dirname "$page")/${to:-$(basename "$page")}
    [ -f "$to" ] || { miss "$page:$line: $link" && continue; }
    [[ $link != *'#'* ]] || anchors "$to" | grep -qxF "${link##*#}" || miss "$page:$line: $link"
done < <(grep -HnoE '\]\([^)]+\)' "${pages[@]}")
none "links of the pages"
check "links were followed" test $links -ge 60

# Functions of the library, variables of vario, and the names of C that newcomers read of.
grep -rhoIE '\b[A-Za-z][A-Za-z0-9]*_[A-Za-z0-9_]+' "${rooms[@]}" CMakeLists.txt --exclude-dir=docs | sort -u >"$work/words"
found=$({
    grep -HnoE '\b(vario_[a-z_]+|VARIO_[A-Z_]+[A-Z])\b' "${pages[@]}"
    grep -E '^docs/(architecture|extending|testing)' "$work/code" | grep -E $'\t[A-Za-z]+[a-z0-9]*_[A-Za-z0-9_]+(\\([^)]*\\))?$' | tr '\t' ':'
} | sed 's/(.*//' | awk -F: 'NR == FNR { has[$1] = 1; next } !($3 in has)' "$work/words" -)
none "names of C and variables that pages name"

# The other way: no column of metrics.csv, no event and no verb is left out.
found=$({
    grep -oE '^ +"[a-z_,]+(\\n)?"' io/runs/metrics.c | tr -d ' "' | sed 's/\\n//' | tr ',' '\n'
    grep -rhE '(train_note(_step)?|tell_event|new_run_publish)\(.*"' train runtime analysis |
        sed 's/json_pack(.*//' | grep -oE '"[a-z_]+"' | tr '"' '`'
} | sort -u | while read -r name; do grep -qwF -- "$name" docs/metrics.md || echo "$name"; done)
none "columns and events that docs/metrics.md leaves out"

finish
