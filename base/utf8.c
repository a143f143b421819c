#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

static bool continues(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Unicode's table 3-7. */
size_t utf8_character(const unsigned char *p, size_t left)
{
    unsigned char a = p[0];
    if (a < 0x80) return 1;
    if (a < 0xc2 || a > 0xf4 || left < 2) return 0;
    if (a < 0xe0) return continues(p[1]) ? 2 : 0;
    unsigned char low = 0x80, high = 0xbf; /* no overlong form, no surrogate, none past U+10FFFF */
    if (a == 0xe0) low = 0xa0;
    if (a == 0xed) high = 0x9f;
    if (a == 0xf0) low = 0x90;
    if (a == 0xf4) high = 0x8f;
    if (p[1] < low || p[1] > high || left < 3 || !continues(p[2])) return 0;
    if (a < 0xf0) return 3;
    return left >= 4 && continues(p[3]) ? 4 : 0;
}

/* The least and the greatest bytes that go on make a character of every beginning that has one. */
bool utf8_begins(const unsigned char *text, size_t size)
{
    unsigned char min[4], max[4];
    if (size >= 4 || utf8_character(text, size) > 0) return false;
    memset(min, 0x80, sizeof min);
    memset(max, 0xbf, sizeof max);
    memcpy(min, text, size);
    memcpy(max, text, size);
    return utf8_character(min, 4) > size || utf8_character(max, 4) > size;
}

static bool eight_ascii(const unsigned char *p)
{
    uint64_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return (bytes & 0x8080808080808080U) == 0;
}

size_t utf8_valid(const unsigned char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        if (size - i >= 8 && eight_ascii(text + i)) {
            i += 8;
            continue;
        }
        size_t n = utf8_character(text + i, size - i);
        if (n == 0) return i;
        i += n;
    }
    return size;
}

size_t utf8_invalid(const unsigned char *text, size_t size)
{
    size_t i = 0;
    while (i < size && utf8_character(text + i, size - i) == 0) i++;
    return i;
}

size_t utf8_whole(const unsigned char *text, size_t size, size_t max)
{
    if (size <= max) return size;
    for (size_t n = max; n > 0 && n + 4 > max; n--)
        if ((text[n] & 0xc0) != 0x80) return n;
    return max;
}

size_t utf8_mark(const char *text, size_t size)
{
    return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}
