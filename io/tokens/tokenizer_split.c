/* GPT-2's pieces. PCRE2's \s is not Unicode's White_Space (it has U+180E), so that is spelled out;
 * bytes that are not UTF-8 never reach the pattern: each run of them is a piece. */
#include "base/utf8.h"
#include "io/tokens/tokenizer_parts.h"

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

pcre2_match_context *splitter_limits(void)
{
    enum { MATCHES = 10000000, KIBIBYTES = 20000, DEPTH = 10000 }; /* a piece needs few */
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (!limits) return NULL;
    pcre2_set_match_limit(limits, MATCHES);
    pcre2_set_heap_limit(limits, KIBIBYTES);
    pcre2_set_depth_limit(limits, DEPTH);
    return limits;
}

/* Every character begins a piece: another answer than a length is a failure of PCRE2. */
static size_t match(splitter *s, const unsigned char *text, size_t size)
{
    int found = pcre2_match(s->pattern, text, size, 0, PCRE2_NO_UTF_CHECK, s->match, s->limits);
    size_t n = found > 0 ? pcre2_get_ovector_pointer(s->match)[1] : 0;
    if (n == 0) *s->error = found < 0 ? found : PCRE2_ERROR_NOMATCH;
    return n;
}

size_t splitter_next(splitter *s)
{
    const unsigned char *rest = s->text + s->at;
    size_t left = s->size - s->at, n = 0;
    if (left == 0) return 0;
    if (s->at == s->valid) s->valid += utf8_valid(rest, left);
    if (s->at == s->valid) {
        n = utf8_invalid(rest, left);
        if (n > TOKENIZER_PIECE) n = TOKENIZER_PIECE;
        s->valid += n;
    } else {
        n = match(s, rest, utf8_whole(rest, s->valid - s->at, TOKENIZER_PIECE));
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

typedef enum { LETTER, DIGIT, OTHER, NEITHER /* white space, or no ASCII */ } character_class;

static character_class class_of(unsigned char byte)
{
    if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z')) return LETTER;
    if (byte >= '0' && byte <= '9') return DIGIT;
    return byte >= 0x80 || is_space(byte) ? NEITHER : OTHER;
}

/* No piece has characters of two of these classes but a contraction, which begins with "'". */
static bool class_changes(unsigned char before, unsigned char after)
{
    character_class a = class_of(before), b = class_of(after);
    return a != b && a != NEITHER && b != NEITHER && before != '\'';
}

/* Every piece with both white space and something else has the white space first, one space; and
 * what the pattern looks ahead for from before such a place lies before it. */
bool tokenizer_may_cut(const void *text, size_t i)
{
    const unsigned char *p = (const unsigned char *)text + i;
    if (i == 0) return false;
    return (is_space(p[0]) && !is_space(p[-1]) && !wide_space_ends(p, i)) ||
           class_changes(p[-1], p[0]);
}
