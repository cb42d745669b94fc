/* Elements to byte planes and back, and differences from a prediction: what codec/planes.py and codec/delta.py define,
 * in one pass over memory. Every function works on any alignment and touches exactly what its arguments cover. */

#include "kernels.h"

LEPTON_API int lepton_version(void)
{
    return LEPTON_VERSION;
}

/* The sign into the gap that the exponent leaves in the byte below, for the two highest bytes of a float. */
LEPTON_INLINE uint16_t tuck(uint16_t bits)
{
    return (bits & 0x7F) | (bits >> 8 & 0x80) | (uint16_t)(bits << 1 & 0xFF00);
}

LEPTON_INLINE uint16_t untuck(uint16_t bits)
{
    return (bits & 0x7F) | (uint16_t)((bits & 0x80) << 8) | (bits >> 1 & 0x7F80);
}

/* For each width: `pack_*` gives the number whose bytes are an element's planes, lowest first; `unpack_*` undoes it.
 * `order_*` maps a float's bits to an integer that neighbours have neighbours of, and back. */
#define WIDTH(bits, uint, sint, centre, tuck_high, untuck_high)                                                        \
    LEPTON_INLINE uint order_##bits(uint x)                                                                            \
    {                                                                                                                  \
        return x ^ ((uint)((sint)x >> (bits - 1)) >> 1);                                                               \
    }                                                                                                                  \
    LEPTON_INLINE uint pack_##bits(uint x, uint predicted, int delta, int floats)                                      \
    {                                                                                                                  \
        if (delta)                                                                                                     \
            return floats ? order_##bits(x) - order_##bits(predicted) + centre : x - predicted + centre;               \
        return floats ? tuck_high(x) : x;                                                                              \
    }                                                                                                                  \
    LEPTON_INLINE uint unpack_##bits(uint x, uint predicted, int delta, int floats)                                    \
    {                                                                                                                  \
        if (delta)                                                                                                     \
            return floats ? order_##bits(x - centre + order_##bits(predicted)) : x - centre + predicted;               \
        return floats ? untuck_high(x) : x;                                                                            \
    }

#define SAME(x) (x)
#define TUCK_32(x) ((uint32_t)tuck((x) >> 16) << 16 | ((x) & 0xFFFF))
#define UNTUCK_32(x) ((uint32_t)untuck((x) >> 16) << 16 | ((x) & 0xFFFF))
#define TUCK_64(x) ((uint64_t)tuck((x) >> 48) << 48 | ((x) & 0xFFFFFFFFFFFF))
#define UNTUCK_64(x) ((uint64_t)untuck((x) >> 48) << 48 | ((x) & 0xFFFFFFFFFFFF))

WIDTH(8, uint8_t, int8_t, 0x80, SAME, SAME)
WIDTH(16, uint16_t, int16_t, 0x8080, tuck, untuck)
WIDTH(32, uint32_t, int32_t, 0x80808080, TUCK_32, UNTUCK_32)
WIDTH(64, uint64_t, int64_t, 0x8080808080808080, TUCK_64, UNTUCK_64)

/* The loops. Planes never overlap each other nor the elements. Unused planes of a narrower width are not touched. */
LEPTON_INLINE void split_8(const uint8_t *restrict x, const uint8_t *restrict y, size_t n, int delta, int floats,
                           uint8_t *const *p)
{
    uint8_t *restrict a = p[0];
    for (size_t i = 0; i < n; i++)
        a[i] = pack_8(x[i], delta ? y[i] : 0, delta, floats);
}

LEPTON_INLINE void split_16(const u16 *restrict x, const u16 *restrict y, size_t n, int delta, int floats,
                            uint8_t *const *p)
{
    uint8_t *restrict a = p[0], *restrict b = p[1];
    for (size_t i = 0; i < n; i++) {
        uint16_t v = pack_16(x[i], delta ? y[i] : 0, delta, floats);
        a[i] = (uint8_t)v, b[i] = (uint8_t)(v >> 8);
    }
}

LEPTON_INLINE void split_32(const u32 *restrict x, const u32 *restrict y, size_t n, int delta, int floats,
                            uint8_t *const *p)
{
    uint8_t *restrict a = p[0], *restrict b = p[1], *restrict c = p[2], *restrict d = p[3];
    for (size_t i = 0; i < n; i++) {
        uint32_t v = pack_32(x[i], delta ? y[i] : 0, delta, floats);
        a[i] = (uint8_t)v, b[i] = (uint8_t)(v >> 8), c[i] = (uint8_t)(v >> 16), d[i] = (uint8_t)(v >> 24);
    }
}

LEPTON_INLINE void split_64(const u64 *restrict x, const u64 *restrict y, size_t n, int delta, int floats,
                            uint8_t *const *p)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = pack_64(x[i], delta ? y[i] : 0, delta, floats);
        for (int k = 0; k < 8; k++)
            p[k][i] = (uint8_t)(v >> 8 * k);
    }
}

LEPTON_INLINE void join_8(const uint8_t *const *p, const uint8_t *restrict y, size_t n, int delta, int floats,
                          uint8_t *restrict out)
{
    const uint8_t *restrict a = p[0];
    for (size_t i = 0; i < n; i++)
        out[i] = unpack_8(a[i], delta ? y[i] : 0, delta, floats);
}

LEPTON_INLINE void join_16(const uint8_t *const *p, const u16 *restrict y, size_t n, int delta, int floats,
                           u16 *restrict out)
{
    const uint8_t *restrict a = p[0], *restrict b = p[1];
    for (size_t i = 0; i < n; i++)
        out[i] = unpack_16((uint16_t)(a[i] | b[i] << 8), delta ? y[i] : 0, delta, floats);
}

LEPTON_INLINE void join_32(const uint8_t *const *p, const u32 *restrict y, size_t n, int delta, int floats,
                           u32 *restrict out)
{
    const uint8_t *restrict a = p[0], *restrict b = p[1], *restrict c = p[2], *restrict d = p[3];
    for (size_t i = 0; i < n; i++) {
        uint32_t v = (uint32_t)a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24;
        out[i] = unpack_32(v, delta ? y[i] : 0, delta, floats);
    }
}

LEPTON_INLINE void join_64(const uint8_t *const *p, const u64 *restrict y, size_t n, int delta, int floats,
                           u64 *restrict out)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = 0;
        for (int k = 0; k < 8; k++)
            v |= (uint64_t)p[k][i] << 8 * k;
        out[i] = unpack_64(v, delta ? y[i] : 0, delta, floats);
    }
}

/* Constant arguments make a loop of its own of each case. */
#define CASES(call, width)                                                                                             \
    switch ((y != NULL) << 1 | (floats != 0)) {                                                                        \
    case 0:                                                                                                            \
        call(width, 0, 0);                                                                                             \
        break;                                                                                                         \
    case 1:                                                                                                            \
        call(width, 0, 1);                                                                                             \
        break;                                                                                                         \
    case 2:                                                                                                            \
        call(width, 1, 0);                                                                                             \
        break;                                                                                                         \
    default:                                                                                                           \
        call(width, 1, 1);                                                                                             \
    }

#define WIDTHS(call)                                                                                                   \
    switch (width) {                                                                                                   \
    case 1:                                                                                                            \
        CASES(call, 8)                                                                                                 \
        break;                                                                                                         \
    case 2:                                                                                                            \
        CASES(call, 16)                                                                                                \
        break;                                                                                                         \
    case 4:                                                                                                            \
        CASES(call, 32)                                                                                                \
        break;                                                                                                         \
    case 8:                                                                                                            \
        CASES(call, 64)                                                                                                \
    }

/* Fill `width` planes of `n` bytes from `n` elements; `y` are as many predicted ones, or NULL. */
LEPTON_API LEPTON_CLONES void lepton_split(const void *x, const void *y, size_t n, unsigned width, int floats,
                                           uint8_t *const *planes)
{
#define SPLIT(bits, delta, floats) split_##bits(x, y, n, delta, floats, planes)
    WIDTHS(SPLIT)
}

/* Undo `lepton_split`. */
LEPTON_API LEPTON_CLONES void lepton_join(const uint8_t *const *planes, const void *y, size_t n, unsigned width,
                                          int floats, void *out)
{
#define JOIN(bits, delta, floats) join_##bits(planes, y, n, delta, floats, out)
    WIDTHS(JOIN)
}

/* Whether `lepton_join` would give the elements `x`, found out in memory that stays in the nearest cache. */
LEPTON_API int lepton_holds(const uint8_t *const *planes, const void *y, size_t n, unsigned width, int floats,
                            const void *x)
{
    enum { BLOCK = 8192 };
    uint8_t joined[BLOCK];
    const uint8_t *from[8];
    size_t step = BLOCK / width;
    for (size_t i = 0; i < n; i += step) {
        size_t count = n - i < step ? n - i : step;
        for (unsigned k = 0; k < width; k++)
            from[k] = planes[k] + i;
        lepton_join(from, y ? (const uint8_t *)y + i * width : NULL, count, width, floats, joined);
        if (memcmp(joined, (const uint8_t *)x + i * width, count * width) != 0)
            return 0;
    }
    return 1;
}
