/** The options of verbs that average networks. */
#ifndef VARIO_CLI_ENSEMBLE_OPTIONS_H
#define VARIO_CLI_ENSEMBLE_OPTIONS_H

#include "analysis/ensemble.h"
#include "cli/options.h"

/** Rows of a verb's options. @param w  ensemble_request */
#define ENSEMBLE_OPTIONS(w)                                                                        \
    {"--samples", OPTION_COUNT, &(w).samples, "S",                                                 \
     "average S posterior samples, or dropouts, of each run too"},                                 \
        {"--antithetic", OPTION_FLAG, &(w).antithetic, NULL,                                       \
         "samples in pairs about the mean, as the runs' own eval.antithetic"},                     \
        {"--posterior", OPTION_TEXT, &(w).posterior, "KIND",                                       \
         "auto (samples where there are, else dropout), mean, samples, dropout, kfac"},            \
        {"--ess", OPTION_NUMBER, &(w).ess, "LAMBDA",                                               \
         "kfac: times the factors (ivon's and bbb's ess, of others the training rows)"},           \
        {"--prior-precision", OPTION_NUMBER, &(w).precision, "TAU",                                \
         "kfac: added to that (LAMBDA times the job's weight_decay)"},                             \
        {"--factor-batches", OPTION_COUNT, &(w).factor_batches, "N",                               \
         "kfac: factors of the first N batches of training data (0: all)"},                        \
    {                                                                                              \
        "--sequences", OPTION_COUNT, &(w).sequences, "N",                                          \
            "sequences or examples of a batch (0: the job's)"                                      \
    }

#endif
