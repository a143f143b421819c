/** Settings that find themselves (optimizer.settings: auto): what follows from the steps, the
 * observations and the gradients at the initial weights. docs/settings.md has the formulas in
 * words. */
#ifndef VARIO_OPTIMIZER_AUTOMATIC_H
#define VARIO_OPTIMIZER_AUTOMATIC_H

#include "base/status.h"
#include "optimizer/table.h"

/** The keys that are derived; which of them an optimizer has, its row says (table.h). */
typedef enum {
    AUTOMATIC_BETA2,
    AUTOMATIC_ESS,
    AUTOMATIC_HESSIAN,
    AUTOMATIC_DECAY,
    AUTOMATIC_CLIP,
    AUTOMATIC_REST,
    AUTOMATIC_FINAL,
    AUTOMATIC_KEYS,
} automatic_key;

/** Their names in job files. */
extern const char *const automatic_names[AUTOMATIC_KEYS];

/** 1 - beta2 is within these. */
extern const double automatic_rate_min, automatic_rate_max;

/** Constants of the formulas, an optimizer's own. */
typedef struct {
    double rate;  /**< h forgets this many times in a run: 1 - beta2 = rate / steps */
    double drift; /**< h0 is so many times what noise adds to h in a step, (1 - beta2) lambda G */
    double temperature; /**< of the last posterior, at most, unless the job says */
    double narrowing;   /**< ess begins so many times above ess_final; 1: it does not move */
    double sigma;       /**< no weight deviates more at the start, unless a temperature says so */
    double decay;       /**< weight_decay is this share of h0 */
    double share;       /**< clip.update is this share of sqrt(G) / h0 */
} automatic_rule;

/** @param text a language model is trained, and not one of examples */
const automatic_rule *automatic_rule_of(optimizer_kind kind, bool text);

/** What is known before the first step. */
typedef struct {
    uint64_t steps;
    double observations; /**< that the training data are */
    double temperature;  /**< of the last posterior; 0: the rule's */
    double peak;         /**< largest change of a weight in a step */
    double mean_square;  /**< G, of an element of a work item's gradient at the initial weights */
} automatic_facts;

/** Whether any key of a set (bits of automatic_key) follows from gradients. */
bool automatic_needs_gradients(unsigned keys);

/** 1 - (1 - beta2) of so many steps, in few digits. */
double automatic_beta2(const automatic_rule *rule, uint64_t steps);

/** Derive a set of keys; the others' values are there. All are of four digits.
 * @return STATUS_OK, or STATUS_NUMERIC where gradients are needed and are all 0, or not finite */
status automatic_derive(double values[AUTOMATIC_KEYS], unsigned keys, const automatic_rule *rule,
                        const automatic_facts *facts);

#endif
