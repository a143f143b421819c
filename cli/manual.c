/* Pages are man(7) macros. A verb knows its table alone, so it prints its part to stdout, which is
 * the page for that time. */
#include "cli/manual.h"

#include "io/files/file.h"
#include "io/jobs/job_schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Text as troff prints it: no hyphens for minus signs, no requests. */
static void print_text(const char *text)
{
    bool begins = true;
    for (const char *c = text; *c; c++) {
        if (begins && (*c == '.' || *c == '\'')) printf("\\&");
        if (*c == '-')
            printf("\\-");
        else if (*c == '\\')
            printf("\\e");
        else
            putchar(*c);
        begins = *c == '\n';
    }
}

void manual_print_table(const option_table *table)
{
    printf(".SH SYNOPSIS\n.B vario %s\n", table->verb);
    print_text(table->usage);
    printf("\n.SH DESCRIPTION\n");
    print_text(table->summary);
    printf("\n.SH OPTIONS\n");
    for (size_t i = 0; i < table->count; i++) {
        const option *o = &table->options[i];
        printf(".TP\n\\fB");
        print_text(o->name);
        printf("\\fR");
        if (o->value) printf(" \\fI%s\\fR", o->value);
        printf("\n");
        print_text(o->help);
        printf("\n");
    }
    printf(".TP\n\\fB\\-\\-help\\fR\nprint this\n");
}

void manual_print_words(const option_table *table)
{
    for (size_t i = 0; i < table->count; i++) printf("%s ", table->options[i].name);
}

static void print_head(const char *page, const char *what)
{
    printf(".TH %s 1 \"\" \"vario %s\" \"vario\"\n.SH NAME\n", page, VARIO_VERSION);
    print_text(page);
    printf(" \\- ");
    print_text(what);
    printf("\n");
}

static void print_codes(void)
{
    printf(
        ".SH EXIT STATUS\n"
        ".TP\n0\ndone\n"
        ".TP\n2\nthe input is wrong; the message says where, what was found and what is expected\n"
        ".TP\n3\na resource failed: disk, memory, another rank\n"
        ".TP\n75\nstopped by a signal or near the end of the allocation, with a checkpoint "
        "written: run it again\n");
}

static void print_verb(const verb *v)
{
    char page[64], *arguments[] = {(char[32]){0}, (char[]){"--help=manual"}, NULL};
    snprintf(arguments[0], 32, "%s", v->name);
    snprintf(page, sizeof page, "vario-%s", v->name);
    print_head(page, v->help);
    v->run(2, arguments);
    print_codes();
    printf(".SH SEE ALSO\n.BR vario (1)\n");
}

static void print_program(const verb *verbs, size_t count)
{
    print_head("vario", "train models with variational learning, and use their posteriors");
    printf(".SH SYNOPSIS\n.B vario\n.I VERB\n\\&...\n.br\n.B mpirun \\-n\n.I RANKS\n.B vario\n"
           ".I VERB\n\\&...\n.SH VERBS\n");
    for (size_t i = 0; i < count; i++) {
        printf(".TP\n\\fBvario %s\\fR\n", verbs[i].name);
        print_text(verbs[i].help);
        printf("\n");
    }
    print_codes();
    printf(".SH SEE ALSO\n");
    for (size_t i = 0; i < count; i++) printf(".BR vario\\-%s (1),\n", verbs[i].name);
    printf(".BR libvario (3)\n");
}

/* For bash: verbs, then a verb's options, then the keys of job files after --set; else files. */
static void print_completion(const verb *verbs, size_t count)
{
    printf("# bash completion of vario\n_vario()\n{\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"");
    for (size_t i = 0; i < count; i++) printf("%s ", verbs[i].name);
    printf("--help --version\"\n    elif [ \"$before\" = --set ]; then\n"
           "        compopt -o nospace\n        words=\"");
    for (size_t i = 0; i < schema_count; i++) printf("%s= ", schema_rows[i].key);
    printf("\"\n    elif [[ $word == -* ]]; then\n        case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < count; i++) {
        char *arguments[] = {(char[32]){0}, (char[]){"--help=words"}, NULL};
        snprintf(arguments[0], 32, "%s", verbs[i].name);
        printf("            %s) words=\"", verbs[i].name);
        verbs[i].run(2, arguments);
        printf("--help\" ;;\n");
    }
    printf("        esac\n    else\n        return\n    fi\n"
           "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n}\n"
           "complete -o default -F _vario vario\n");
}

static status begin_file(const char *directory, const char *folder, const char *name)
{
    char path[4096];
    if (fflush(stdout) || ferror(stdout))
        return fail(STATUS_IO, "write the pages in %s: failed", directory);
    snprintf(path, sizeof path, "%.3800s/%s", directory, folder);
    status result = file_make_directories(path);
    if (result) return result;
    snprintf(path, sizeof path, "%.3800s/%s/%s", directory, folder, name);
    return freopen(path, "w", stdout) ? STATUS_OK
                                      : fail(STATUS_IO, "write %s: %s", path, strerror(errno));
}

status manual_write(const char *directory, const verb *verbs, size_t count)
{
    status result = begin_file(directory, "man1", "vario.1");
    if (!result) print_program(verbs, count);
    for (size_t i = 0; !result && i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "vario-%s.1", verbs[i].name);
        result = begin_file(directory, "man1", name);
        if (!result) print_verb(&verbs[i]);
    }
    if (!result) result = begin_file(directory, "completion", "vario");
    if (!result) print_completion(verbs, count);
    if (!result && (fflush(stdout) || ferror(stdout)))
        result = fail(STATUS_IO, "write the pages in %s: failed", directory);
    return result;
}
