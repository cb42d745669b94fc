/* Elements to numbers: every value of these dtypes is a double. */

#ifndef LEPTON_ELEMENTS_H
#define LEPTON_ELEMENTS_H

#include "kernels.h"

enum { BF16, F16, F32, F64, I8, U8, I16, U16, I32, U32, LISTED };

/* How elements are read: `kind`, and for LISTED the value of each byte. */
struct reading {
    const double *values;
    unsigned kind;
};

LEPTON_INLINE float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

LEPTON_INLINE uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

LEPTON_INLINE float from_f16(uint16_t x)
{
    uint32_t bits = (uint32_t)(x & 0x7FFF) << 13, sign = (uint32_t)(x & 0x8000) << 16;
    float normal = float_of(bits + (112u << 23)), subnormal = float_of(bits + (113u << 23)) - float_of(113u << 23);
    float special = float_of(bits + (224u << 23));
    float found = bits < 1u << 23 ? subnormal : bits >= 31u << 23 ? special : normal;
    return float_of(bits_of(found) | sign);
}

LEPTON_INLINE size_t width_of(unsigned kind)
{
    static const uint8_t widths[] = {2, 2, 4, 8, 1, 1, 2, 2, 4, 4, 1};
    return widths[kind];
}

#define READ(which, type, value)                                                                                       \
    case which: {                                                                                                      \
        const type *restrict codes = (const type *)memory + at;                                                        \
        for (size_t i = 0; i < n; i++)                                                                                 \
            out[i] = value;                                                                                            \
        break;                                                                                                         \
    }

/* `n` elements of `memory`, from element `at` on. */
LEPTON_INLINE void read_elements(struct reading how, const void *memory, size_t at, size_t n, double *restrict out)
{
    switch (how.kind) {
        READ(BF16, u16, float_of((uint32_t)codes[i] << 16))
        READ(F16, u16, from_f16(codes[i]))
        READ(F32, u32, float_of(codes[i]))
        READ(I8, uint8_t, (int8_t)codes[i])
        READ(U8, uint8_t, codes[i])
        READ(I16, u16, (int16_t)codes[i])
        READ(U16, u16, codes[i])
        READ(I32, u32, (int32_t)codes[i])
        READ(U32, u32, codes[i])
        READ(LISTED, uint8_t, how.values[codes[i]])
    default:
        memcpy(out, (const u64 *)memory + at, n * sizeof *out);
    }
}

#endif
