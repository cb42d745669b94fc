/* Bits in memory, lowest first, and back from the end: as zstd's entropy coders write and read them (RFC 8878, 4). */

#ifndef LEPTON_BITS_H
#define LEPTON_BITS_H

#include "kernels.h"

LEPTON_INLINE unsigned highest_bit(unsigned x)
{
    return 31 - (unsigned)__builtin_clz(x);
}

/* Where bits go. */
struct bits {
    uint64_t word;
    unsigned count;
    uint8_t *out;
};

LEPTON_INLINE void put_bits(struct bits *at, unsigned value, unsigned count)
{
    at->word |= (uint64_t)value << at->count;
    for (at->count += count; at->count >= 8; at->count -= 8, at->word >>= 8)
        *at->out++ = (uint8_t)at->word;
}

/* Bits of a stream that is read backwards: `left` of them, of which the last is at the top. */
struct backwards {
    const uint8_t *start;
    size_t left;
};

/* A stream of `length` bytes up to its closing 1. Returns 0 when there is none. */
LEPTON_INLINE int open_backwards(struct backwards *at, const uint8_t *start, size_t length)
{
    if (!length || !start[length - 1])
        return 0;
    *at = (struct backwards){start, 8 * (length - 1) + highest_bit(start[length - 1])};
    return 1;
}

/* The next `count` bits, at most 16; zeros stand for those before the start. */
LEPTON_INLINE unsigned peek(const struct backwards *at, unsigned count)
{
    unsigned word = 0, missing = at->left < count ? count - (unsigned)at->left : 0;
    size_t from = at->left - (count - missing), to = at->left;
    for (size_t byte = to / 8 + (to % 8 > 0); byte-- > from / 8;)
        word = word << 8 | at->start[byte];
    return (word >> from % 8 & ((1u << (count - missing)) - 1)) << missing;
}

#endif
