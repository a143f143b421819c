/* GPT-2's pieces. PCRE2's \s is not Unicode's White_Space (it has U+180E), so that is spelled out;
 * bytes that are not UTF-8 never reach the pattern: each run of them is a piece. */
#include "io/tokens/tokenizer_parts.h"
#include "io/tokens/utf8.h"

#include <assert.h>

#define SPACE                                                                                      \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"        \
    "\\x{205f}\\x{3000}"

static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE
                              "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+";

pcre2_code *splitter_compile(void)
{
    int error;
    size_t place;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &place, NULL);
    if (code) pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it, matching is slower */
    return code;
}

size_t splitter_next(splitter *s)
{
    const unsigned char *rest = s->text + s->at;
    size_t left = s->size - s->at, n = 0;
    if (left == 0) return 0;
    if (s->at == s->valid) s->valid += utf8_valid(rest, left);
    if (s->at == s->valid) {
        n = utf8_invalid(rest, left);
        s->valid += n;
    } else {
        int found =
            pcre2_match(s->pattern, rest, s->valid - s->at, 0, PCRE2_NO_UTF_CHECK, s->match, NULL);
        (void)found;
        assert(found > 0); /* every character begins a piece */
        n = pcre2_get_ovector_pointer(s->match)[1];
    }
    s->at += n;
    return n;
}

static bool is_space(unsigned char byte)
{
    return byte == ' ' || (byte >= 0x09 && byte <= 0x0d);
}

/* Whether a character of White_Space beyond ASCII ends before p. */
static bool wide_space_ends(const unsigned char *p, size_t before)
{
    unsigned char last = p[-1];
    if (before >= 2 && p[-2] == 0xc2) return last == 0x85 || last == 0xa0;
    if (before < 3) return false;
    switch (p[-3] << 8 | p[-2]) {
    case 0xe19a: return last == 0x80;
    case 0xe280:
        return (last >= 0x80 && last <= 0x8a) || last == 0xa8 || last == 0xa9 || last == 0xaf;
    case 0xe281: return last == 0x9f;
    case 0xe380: return last == 0x80;
    default: return false;
    }
}

/* Every piece with both white space and something else has the white space first, one space; and
 * what the pattern looks ahead for from before such a place lies before it. */
bool tokenizer_may_cut(const void *text, size_t i)
{
    const unsigned char *p = (const unsigned char *)text + i;
    return i > 0 && is_space(p[0]) && !is_space(p[-1]) && !wide_space_ends(p, i);
}
