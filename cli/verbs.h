/** The verbs of the command line: each parses, opens, runs and closes, and returns the exit code.
 * argv[0] is the verb. */
#ifndef VARIO_CLI_VERBS_H
#define VARIO_CLI_VERBS_H

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /**< one line */
} verb;

int train_main(int argc, char **argv);
int tune_main(int argc, char **argv);
int eval_main(int argc, char **argv);
int ood_main(int argc, char **argv);
int sensitivity_main(int argc, char **argv);
int exact_main(int argc, char **argv);
int generate_main(int argc, char **argv);
int report_main(int argc, char **argv);
int top_main(int argc, char **argv);
int merge_main(int argc, char **argv);
int curvature_main(int argc, char **argv);
int import_main(int argc, char **argv);
int export_main(int argc, char **argv);
int prepare_main(int argc, char **argv);
int plan_main(int argc, char **argv);
int schema_main(int argc, char **argv);
int bench_main(int argc, char **argv);

#endif
