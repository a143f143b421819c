/** Drawing the next token of a generated text from logits. */
#ifndef VARIO_POSTERIOR_SAMPLING_H
#define VARIO_POSTERIOR_SAMPLING_H

#include <stddef.h>

/** Draw a token from softmax(logits / temperature), cut down to the likeliest ones; not collective.
 *
 * Tokens are ranked by logit, the lower id first among equals. The top_k first are kept, of them
 * the fewest that hold a share top_p of what is left, at least one; u then picks among these in
 * the order of ids. The same arguments give the same token on every machine whose exp() does.
 *
 * Allocates nothing: each cut finds its threshold by bisection over the bits of the rank.
 *
 * @param logits       [vocab] a NaN is never drawn while there is a number
 * @param vocab        1 to 2^32 - 1
 * @param temperature  0 or less: the first-ranked token, whatever u
 * @param top_k        0 or at least vocab: all
 * @param top_p        1 or more: all
 * @param u            uniform in [0, 1)
 * @return a token below vocab; 0 when every logit is NaN
 */
size_t sample_token(const float *logits, size_t vocab, double temperature, size_t top_k,
                    double top_p, double u);

#endif
