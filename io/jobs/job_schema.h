/** The schema of job files: one row a key, which validation, defaults, the resolved copy, the
 * documentation and the check on resume all read. */
#ifndef VARIO_IO_JOBS_JOB_SCHEMA_H
#define VARIO_IO_JOBS_JOB_SCHEMA_H

#include "base/number.h"
#include "io/jobs/job.h"

typedef enum { KEY_TEXT, KEY_COUNT, KEY_NUMBER, KEY_BOOL, KEY_CHOICE, KEY_COUNTS } key_type;

/** Sets of kinds of model, of schedules and of settings. */
enum {
    OF_GPT2 = 1 << MODEL_GPT2,
    OF_LINEAR = 1 << MODEL_LINEAR,
    OF_MLP = 1 << MODEL_MLP,
    OF_EXAMPLES = OF_LINEAR | OF_MLP,
    FOR_LINEAR = 1 << SCHEDULE_LINEAR,
    FOR_COSINE = 1 << SCHEDULE_COSINE,
    FOR_WSD = 1 << SCHEDULE_WSD,
    FOR_STEPS = 1 << SCHEDULE_STEPS,
    FOR_GIVEN = 1 << SETTINGS_GIVEN,
    FOR_AUTO = 1 << SETTINGS_AUTO,
};

/** A member left out is 0: no limit, no choices, for all. */
typedef struct {
    const char *key; /**< dotted */
    key_type type;
    size_t offset;                 /**< in job */
    const char *standard;          /**< default as text, NULL: required */
    const char *standard_examples; /**< where linear and mlp differ, else NULL */
    double min, max;               /**< of numbers and counts */
    range_ends ends;
    const char *choices; /**< "a|b|c", in the order of their values */
    const char *word;    /**< of a count: the word that means word_value */
    uint64_t word_value;
    size_t count_offset; /**< of a list: where its length stands in job */
    bool rising;         /**< of a list */
    bool from_preset;    /**< model.preset gives it */
    bool may_change;     /**< on resume */
    int models;          /**< kinds of model that it belongs to, 0: all */
    bool by_optimizer;   /**< belongs to the optimizers whose rows name it, else to all */
    int schedules;       /**< those that read it, 0: all */
    int settings;        /**< values of optimizer.settings that read it, 0: all */
    bool of_swag;        /**< means nothing where no snapshots are taken */
    const char *help;    /**< with the unit */
} schema_row;

extern const schema_row schema_rows[];
extern const size_t schema_count;

enum { JOB_COUNTS = 16 /**< of a list, at most */ };

enum { SCHEMA_TEXT = 300 /**< bytes of what schema_describe says */ };

const schema_row *schema_find(const char *key);

/** Whether keys begin with "name.". */
bool schema_is_section(const char *name);

/** A section's first key, for messages. */
const char *schema_section_key(const char *section);

/** The known key with the smallest edit distance to a dotted key or, for a name without a dot, the
 * known section where that is nearer. Valid until the next call. */
const char *schema_nearest(const char *key);

/** The optimizers that a key belongs to, by bits of their kinds; 0: all. */
int schema_optimizers(const schema_row *row);

/** An optimizer's own default of a key, NULL: there is none. */
const char *schema_standard_of(const schema_row *row, optimizer_kind kind);

/** The same with optimizer.settings: auto, where it is another and not derived. */
const char *schema_automatic_of(const schema_row *row, optimizer_kind kind);

/** Whether a key waits to be derived. */
bool schema_waits(const schema_row *row, const job *j);

/** Whether a key means anything to a job's model and optimizer. */
bool schema_applies(const schema_row *row, const job *j);

/** The default of a row for a job's model and optimizer; NULL: required. */
const char *schema_standard(const schema_row *row, const job *j);

/** The name of a choice's value. */
void schema_choice(const schema_row *row, int value, char *text, size_t size);

/** The names of a choice's values in a set, joined by ", ". */
void schema_choices(const schema_row *row, int set, char *text, size_t size);

/** A row's range as documentation writes it: "[0, 1)", "" when there is none. */
void schema_range(const schema_row *row, char *text, size_t size);

/** Whether a text fits a key: its length, and that YAML would give it back as it is. */
bool schema_text_fits(const char *text);

/** What a key takes, to follow "expected". */
void schema_describe(const schema_row *row, char *text, size_t size);

/** Parse text into the job's field, which is unchanged when it returns false. */
bool schema_parse(const schema_row *row, job *j, const char *text);

/** The job's value as text that schema_parse reads back. */
void schema_format(const schema_row *row, const job *j, char *text, size_t size);

#endif
