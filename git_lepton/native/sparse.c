/* Planes that are half full of one byte, as codec/sparse.py defines them. Every function touches exactly what its
 * arguments cover. LEPTON_PORTABLE, when compiling, leaves the loops for newer processors out, for tests. */

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(LEPTON_PORTABLE)
#define LEPTON_VBMI2 __attribute__((target("avx512f,avx512bw,avx512vbmi2,popcnt,bmi2")))
#include <immintrin.h>

LEPTON_INLINE int has_vbmi2(void)
{
    return __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}

LEPTON_INLINE LEPTON_VBMI2 __mmask64 first(size_t n)
{
    return _bzhi_u64(~0ULL, (unsigned)n);
}

/* Compressed in a register and then stored: compressing to memory is slow on some processors. What is stored beyond the
 * bytes that count lies within `rest`, as these are no more than the bytes of `plane` before it. */
LEPTON_VBMI2 static size_t split_vbmi2(const uint8_t *plane, size_t n, uint8_t common, uint8_t *bitmap, uint8_t *rest)
{
    __m512i same = _mm512_set1_epi8((char)common);
    size_t count = 0, i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i x = _mm512_loadu_si512(plane + i);
        uint64_t bits = _mm512_cmpneq_epi8_mask(x, same);
        memcpy(bitmap + i / 8, &bits, 8);
        _mm512_storeu_si512(rest + count, _mm512_maskz_compress_epi8(bits, x));
        count += (size_t)_mm_popcnt_u64(bits);
    }
    if (i < n) {
        __m512i x = _mm512_maskz_loadu_epi8(first(n - i), plane + i);
        uint64_t bits = _mm512_mask_cmpneq_epi8_mask(first(n - i), x, same);
        memcpy(bitmap + i / 8, &bits, (n - i + 7) / 8);
        size_t others = (size_t)_mm_popcnt_u64(bits);
        _mm512_mask_storeu_epi8(rest + count, first(others), _mm512_maskz_compress_epi8(bits, x));
        count += others;
    }
    return count;
}

LEPTON_VBMI2 static void join_vbmi2(const uint8_t *bitmap, const uint8_t *rest, uint8_t common, size_t n,
                                    uint8_t *plane)
{
    __m512i same = _mm512_set1_epi8((char)common);
    for (size_t i = 0; i < n; i += 64) {
        size_t width = n - i < 64 ? n - i : 64;
        uint64_t bits = 0;
        if (width == 64)
            memcpy(&bits, bitmap + i / 8, 8);
        else
            memcpy(&bits, bitmap + i / 8, (width + 7) / 8);
        size_t others = (size_t)_mm_popcnt_u64(bits);
        __m512i x = _mm512_mask_expand_epi8(same, bits, _mm512_maskz_loadu_epi8(first(others), rest));
        if (width == 64)
            _mm512_storeu_si512(plane + i, x);
        else
            _mm512_mask_storeu_epi8(plane + i, first(width), x);
        rest += others;
    }
}
#else
#define has_vbmi2() 0
#define split_vbmi2(...) 0
#define join_vbmi2(...) (void)0
#endif

/* Bytes of a plane that are not `common`, in order, into `rest` of `n` bytes, and where they are, lowest bit first, into
 * `bitmap` of n / 8 bytes rounded up. Returns how many they are. */
LEPTON_API size_t lepton_sparse_split(const uint8_t *plane, size_t n, uint8_t common, uint8_t *bitmap, uint8_t *rest)
{
    if (has_vbmi2())
        return split_vbmi2(plane, n, common, bitmap, rest);
    size_t count = 0;
    for (size_t i = 0; i < n; i += 8) {
        size_t width = n - i < 8 ? n - i : 8;
        unsigned bits = 0;
        for (size_t k = 0; k < width; k++) {
            unsigned other = plane[i + k] != common;
            bits |= other << k;
            rest[count] = plane[i + k]; /* overwritten by the next one unless it counts; count < n here */
            count += other;
        }
        bitmap[i / 8] = (uint8_t)bits;
    }
    return count;
}

/* How many ones a bitmap has. */
LEPTON_API LEPTON_CLONES size_t lepton_ones(const uint8_t *bitmap, size_t bytes)
{
    size_t ones = 0, i = 0;
    for (; i + 8 <= bytes; i += 8)
        ones += (size_t)__builtin_popcountll(*(const u64 *)(bitmap + i));
    for (; i < bytes; i++)
        ones += (size_t)__builtin_popcount(bitmap[i]);
    return ones;
}

/* Undo `lepton_sparse_split`: `rest` has as many bytes as the bitmap has ones, and none of these is behind `n`. */
LEPTON_API void lepton_sparse_join(const uint8_t *bitmap, const uint8_t *rest, uint8_t common, size_t n,
                                   uint8_t *plane)
{
    if (has_vbmi2()) {
        join_vbmi2(bitmap, rest, common, n, plane);
        return;
    }
    size_t left = lepton_ones(bitmap, (n + 7) / 8), i = 0;
    for (; i + 8 <= n && left >= 8; i += 8) {
        const uint8_t *from = rest;
        for (unsigned k = 0, bits = bitmap[i / 8]; k < 8; k++, bits >>= 1) {
            plane[i + k] = (uint8_t)(common ^ ((common ^ *rest) & -(bits & 1))); /* a choice that nobody has to guess */
            rest += bits & 1;
        }
        left -= (size_t)(rest - from);
    }
    memset(plane + i, common, n - i);
    for (; left; i += 8)
        for (unsigned bits = bitmap[i / 8]; bits; bits &= bits - 1, left--)
            plane[i + (size_t)__builtin_ctz(bits)] = *rest++;
}
