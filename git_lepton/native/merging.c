/* Merged elements from those of two or three sides in one pass: what compare/arithmetic.py and compare/rounding.py
 * define. Elements become doubles a block at a time, in memory of the nearest cache; results are rounded once to the
 * dtype they came from. Every function works on any alignment and touches exactly what its arguments cover. */

#include "elements.h"

enum { BLOCK = 512, LANES = 8, STREAMS = 8 };

/* The bits of a double without its sign: their order is that of magnitudes, NaN behind infinity. */
LEPTON_INLINE int64_t magnitude(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & INT64_MAX;
}

static LEPTON_CLONES void take(unsigned kind, const void *codes, size_t at, size_t n, double *restrict out)
{
    read_elements((struct reading){NULL, kind}, codes, at, n, out);
}

/* Numbers to elements. A float that is not exact is made odd, away from any midpoint of a narrower dtype, so that
 * rounding it again rounds the double (Boldo and Melquiond, "Emulation of a FMA and Correctly Rounded Sums", 2008). */

LEPTON_INLINE uint32_t odd(double x)
{
    float near = (float)x;
    uint32_t inexact = near != x, beyond = __builtin_fabs((double)near) > __builtin_fabs(x);
    return (bits_of(near) - beyond) | inexact;
}

LEPTON_INLINE uint16_t to_bf16(double x)
{
    uint32_t bits = odd(x);
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(x != x ? 0x7FC0 : rounded);
}

LEPTON_INLINE uint16_t to_f16(double x)
{
    uint32_t bits = odd(x), sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
    uint32_t normal = (size - (112u << 23) + 0xFFF + (size >> 13 & 1)) >> 13;
    /* The sum has the step of the smallest halves, so that the adder rounds to it. */
    uint32_t subnormal = bits_of(float_of(size) + float_of(126u << 23)) - (126u << 23);
    uint32_t found = size < 113u << 23 ? subnormal : size >= 143u << 23 ? 0x7C00 : normal;
    return (uint16_t)(x != x ? 0x7E00 : found | sign);
}

/* Rounds by way of floats, unless one of these is NaN, or a midpoint that its double is not: then it returns 0. */
LEPTON_INLINE int rounded_bf16(const double *restrict x, size_t n, u16 *restrict codes)
{
    uint32_t doubtful = 0;
    for (size_t i = 0; i < n; i++) {
        float near = (float)x[i];
        uint32_t bits = bits_of(near), inexact = near != x[i];
        doubtful |= ((bits & 0xFFFF) == 0x8000 ? inexact : 0) | ((bits & 0x7FFFFFFF) > 0x7F800000);
        codes[i] = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
    return !doubtful;
}

static LEPTON_CLONES void put(unsigned kind, const double *restrict x, size_t at, size_t n, void *codes)
{
    u16 *restrict halves = (u16 *)codes + at;
    u32 *restrict words = (u32 *)codes + at;
    u64 *restrict longs = (u64 *)codes + at;
    switch (kind) {
    case BF16:
        if (rounded_bf16(x, n, halves))
            break;
        for (size_t i = 0; i < n; i++)
            halves[i] = to_bf16(x[i]);
        break;
    case F16:
        for (size_t i = 0; i < n; i++)
            halves[i] = to_f16(x[i]);
        break;
    case F32:
        for (size_t i = 0; i < n; i++)
            words[i] = x[i] != x[i] ? 0x7FC00000 : bits_of((float)x[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++) {
            uint64_t bits;
            memcpy(&bits, x + i, sizeof bits);
            longs[i] = x[i] != x[i] ? 0x7FF8000000000000 : bits;
        }
    }
}

#define EACH_BLOCK(start, stop)                                                                                        \
    for (size_t at = start, n; n = stop - at < BLOCK ? stop - at : BLOCK, at < stop; at += n)

/* Both sides, each with its factor, and their sum. */
LEPTON_API LEPTON_CLONES void lepton_merge_weighted(unsigned kind, const void *ours, const void *theirs, size_t count,
                                                    const double *factors, void *out)
{
    double x[BLOCK], y[BLOCK], z[BLOCK];
    EACH_BLOCK(0, count)
    {
        take(kind, ours, at, n, x), take(kind, theirs, at, n, y);
        for (size_t i = 0; i < n; i++)
            z[i] = x[i] * factors[0] + y[i] * factors[1];
        put(kind, z, at, n, out);
    }
}

/* The base and `scale` times the sum of both changes, each with its factor. */
LEPTON_API LEPTON_CLONES void lepton_merge_added(unsigned kind, const void *base, const void *ours, const void *theirs,
                                                 size_t count, const double *factors, double scale, void *out)
{
    double b[BLOCK], x[BLOCK], y[BLOCK], z[BLOCK];
    EACH_BLOCK(0, count)
    {
        take(kind, base, at, n, b), take(kind, ours, at, n, x), take(kind, theirs, at, n, y);
        for (size_t i = 0; i < n; i++)
            z[i] = ((x[i] - b[i]) * factors[0] + (y[i] - b[i]) * factors[1]) * scale + b[i];
        put(kind, z, at, n, out);
    }
}

typedef double lanes __attribute__((vector_size(8 * LANES)));

/* Of three products, of both sides and of each with itself, the sums in `LANES` lanes: 3 * LANES numbers. */
LEPTON_API LEPTON_CLONES void lepton_merge_products(unsigned kind, const void *ours, const void *theirs, size_t count,
                                                    double *sums)
{
    double x[BLOCK], y[BLOCK];
    lanes both = {0}, left = {0}, right = {0};
    EACH_BLOCK(0, count)
    {
        take(kind, ours, at, n, x), take(kind, theirs, at, n, y);
        for (size_t i = n; i % LANES; i++)
            x[i] = y[i] = 0;
        for (size_t i = 0; i < n; i += LANES) {
            lanes one, other;
            memcpy(&one, x + i, sizeof one), memcpy(&other, y + i, sizeof other);
            both += one * other, left += one * one, right += other * other;
        }
    }
    memcpy(sums, &both, sizeof both);
    memcpy(sums + LANES, &left, sizeof left);
    memcpy(sums + 2 * LANES, &right, sizeof right);
}

/* 64 flags of a byte each, as bits. */
LEPTON_INLINE uint64_t gathered(const uint8_t *flags)
{
    uint64_t bits = 0;
    for (int k = 0; k < 8; k++) {
        uint64_t eight;
        memcpy(&eight, flags + 8 * k, sizeof eight);
        bits |= eight * 0x0102040810204080 >> 56 << 8 * k;
    }
    return bits;
}

/* Of the changes of both sides, how many are larger than `most`, and into `found` those that are not, nor smaller than
 * `least`; `counts` gets both numbers of ours, then of theirs. */
LEPTON_API LEPTON_CLONES void lepton_merge_window(unsigned kind, const void *base, const void *ours, const void *theirs,
                                                  size_t count, const int64_t *least, const int64_t *most,
                                                  uint64_t *counts, int64_t *const *found)
{
    double b[BLOCK], x[BLOCK];
    int64_t sizes[BLOCK];
    uint8_t inside[BLOCK];
    uint64_t above[2] = {0, 0};
    int64_t *ends[2] = {found[0], found[1]};
    EACH_BLOCK(0, count)
    {
        take(kind, base, at, n, b);
        memset(inside, 0, sizeof inside);
        for (int side = 0; side < 2; side++) {
            const int64_t low = least[side], high = most[side];
            uint64_t beyond = 0;
            int64_t *end = ends[side];
            take(kind, side ? theirs : ours, at, n, x);
            for (size_t i = 0; i < n; i++) {
                sizes[i] = magnitude(x[i] - b[i]);
                beyond += sizes[i] > high;
                inside[i] = (sizes[i] >= low) & (sizes[i] <= high);
            }
            above[side] += beyond;
            for (size_t i = 0; i < BLOCK; i += 64)
                for (uint64_t bits = gathered(inside + i); bits; bits &= bits - 1)
                    *end++ = sizes[i + (size_t)__builtin_ctzll(bits)];
            ends[side] = end;
        }
    }
    for (int side = 0; side < 2; side++)
        counts[2 * side] = above[side], counts[2 * side + 1] = (uint64_t)(ends[side] - found[side]);
}

/* How the change of a side is thinned out before signs are elected. */
struct choice {
    double factor;
    int64_t least;  /* the smallest magnitude that stays */
    uint64_t equal; /* how many of exactly that magnitude stay: the first ones, or ALL */
};

#define ALL ((uint64_t)1 << 63)

struct election {
    double mean[3]; /* to multiply by: where ours won, where theirs won, where both are taken */
    double scale;
    int random;                 /* whether chance thins out, not magnitude */
    double rescale;             /* what stays is multiplied by this */
    uint64_t stays;             /* of 2**32 */
    uint64_t state[4][STREAMS]; /* of the random numbers: each stream's three words and counter */
};

typedef uint64_t streams __attribute__((vector_size(8 * STREAMS)));

/* The next numbers of all streams, into memory of a whole block. SFC64 is by Chris Doty-Humphrey (PractRand, 2010). */
static LEPTON_CLONES void draw(uint64_t (*state)[STREAMS], size_t n, uint64_t *restrict out)
{
    streams a, b, c, counter;
    memcpy(&a, state[0], sizeof a), memcpy(&b, state[1], sizeof b);
    memcpy(&c, state[2], sizeof c), memcpy(&counter, state[3], sizeof counter);
    for (size_t i = 0; i < n; i += STREAMS) {
        streams next = a + b + counter;
        counter += 1;
        a = b ^ b >> 11;
        b = c + (c << 3);
        c = (c << 24 | c >> 40) + next;
        memcpy(out + i, &next, sizeof next);
    }
    memcpy(state[0], &a, sizeof a), memcpy(state[1], &b, sizeof b);
    memcpy(state[2], &c, sizeof c), memcpy(state[3], &counter, sizeof counter);
}

/* Of the change from b to x keep in x what is larger than `least`, and of those equal to it the next few: `equal` counts
 * how many may still come. */
static LEPTON_CLONES void trim(double *restrict x, const double *restrict b, size_t n, int64_t least, uint64_t *equal)
{
    uint64_t all = 0;
    if (*equal && *equal != ALL) {
        for (size_t i = 0; i < n; i++)
            all += magnitude(x[i] - b[i]) == least;
    }
    if (all <= *equal) {
        int64_t below = *equal ? least - 1 : least;
        for (size_t i = 0; i < n; i++) {
            double change = x[i] - b[i];
            x[i] = magnitude(change) > below ? change : 0;
        }
        *equal -= all;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        double change = x[i] - b[i];
        int same = magnitude(change) == least && *equal;
        *equal -= same;
        x[i] = magnitude(change) > least || same ? change : 0;
    }
}

LEPTON_API LEPTON_CLONES void lepton_merge_elected(unsigned kind, const void *base, const void *ours, const void *theirs,
                                                   size_t count, const struct choice *choices,
                                                   const struct election *how, void *out)
{
    double b[BLOCK], x[BLOCK], y[BLOCK], z[BLOCK];
    uint64_t chance[BLOCK], equal[2] = {choices[0].equal, choices[1].equal};
    const double f = choices[0].factor, g = choices[1].factor, scale = how->scale;
    const double first = how->mean[0], second = how->mean[1], together = how->mean[2], rescale = how->rescale;
    const uint64_t stays = how->stays;
    uint64_t state[4][STREAMS];
    memcpy(state, how->state, sizeof state);
    EACH_BLOCK(0, count)
    {
        take(kind, base, at, n, b), take(kind, ours, at, n, x), take(kind, theirs, at, n, y);
        if (how->random) {
            draw(state, n, chance);
            for (size_t i = 0; i < n; i++) {
                x[i] = chance[i] >> 32 < stays ? (x[i] - b[i]) * rescale : 0;
                y[i] = (chance[i] & 0xFFFFFFFF) < stays ? (y[i] - b[i]) * rescale : 0;
            }
        } else {
            trim(x, b, n, choices[0].least, &equal[0]);
            trim(y, b, n, choices[1].least, &equal[1]);
        }
        for (size_t i = 0; i < n; i++) {
            double one = x[i] * f, other = y[i] * g, sum = one + other;
            double size = __builtin_fabs(one), other_size = __builtin_fabs(other);
            /* Bitwise, so that nothing branches. */
            int left = (size > other_size) | ((sum == 0) & (one > 0));
            int both = ((one > 0) & (other > 0)) | ((one < 0) & (other < 0)) | (sum != sum);
            double winner = __builtin_copysign(size > other_size ? size : other_size, sum) * (left ? first : second);
            z[i] = (both ? sum * together : winner) * scale + b[i];
        }
        put(kind, z, at, n, out);
    }
}
