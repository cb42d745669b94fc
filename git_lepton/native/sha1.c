/* SHA-1 (FIPS 180-4, 6.1) of up to sixteen messages at once, a message in each lane of a vector. One message has nothing
 * to compute side by side, and the instructions for it work on one block at a time; object ids of a pack need not wait for
 * one another. LEPTON_PORTABLE, when compiling, leaves this out, for tests. */

#include "kernels.h"

enum { LANES = 16, BLOCK = 64, WORDS = 5 };

#if defined(__x86_64__) && defined(__GNUC__) && !defined(LEPTON_PORTABLE)
#include <immintrin.h>
#define LEPTON_AVX512 __attribute__((target("avx512f,avx512bw")))

/* Where a message goes on: in parts that follow one another, then in its padding. */
struct lane {
    const uint8_t *const *parts;
    const size_t *sizes;
    size_t count, at;                      /* parts; bytes of the first of them that were taken */
    uint64_t length;                       /* bytes of the message */
    enum { NOTHING, BIT, LENGTH } padding; /* how much was written: the bit behind the message, its length */
    uint8_t block[BLOCK];                  /* one that does not lie in one part */
};

/* Sixteen rows of sixteen words become columns; words are big-endian in memory. */
LEPTON_INLINE LEPTON_AVX512 void transpose(const uint8_t *const *rows, __m512i *out)
{
    const __m512i swap = _mm512_broadcast_i32x4(_mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
    __m512i x[LANES], y[LANES];
    for (int i = 0; i < LANES; i++)
        x[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(rows[i]), swap);
    for (int i = 0; i < LANES; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4)
        for (int k = 0; k < 2; k++) {
            x[i + 2 * k] = _mm512_unpacklo_epi64(y[i + k], y[i + 2 + k]);
            x[i + 2 * k + 1] = _mm512_unpackhi_epi64(y[i + k], y[i + 2 + k]);
        }
    /* Of x[4 i + k], quarter q has word 4 q + k of rows 4 i to 4 i + 3. */
    for (int k = 0; k < 4; k++) {
        __m512i even = _mm512_shuffle_i32x4(x[k], x[4 + k], 0x88), odd = _mm512_shuffle_i32x4(x[k], x[4 + k], 0xDD);
        __m512i even2 = _mm512_shuffle_i32x4(x[8 + k], x[12 + k], 0x88);
        __m512i odd2 = _mm512_shuffle_i32x4(x[8 + k], x[12 + k], 0xDD);
        out[k] = _mm512_shuffle_i32x4(even, even2, 0x88);
        out[4 + k] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
        out[8 + k] = _mm512_shuffle_i32x4(even, even2, 0xDD);
        out[12 + k] = _mm512_shuffle_i32x4(odd, odd2, 0xDD);
    }
}

/* Choice, parity and majority as tables of three bits. */
#define ROUND(t, table, constant)                                                                                      \
    do {                                                                                                               \
        if ((t) >= 16)                                                                                                 \
            w[(t) % 16] = _mm512_rol_epi32(                                                                            \
                _mm512_xor_si512(_mm512_ternarylogic_epi32(w[((t) + 13) % 16], w[((t) + 8) % 16], w[((t) + 2) % 16],   \
                                                           0x96),                                                      \
                                 w[(t) % 16]),                                                                         \
                1);                                                                                                    \
        __m512i sum = _mm512_add_epi32(_mm512_add_epi32(w[(t) % 16], _mm512_set1_epi32((int)(constant))), e);          \
        sum = _mm512_add_epi32(sum, _mm512_ternarylogic_epi32(b, c, d, table));                                        \
        e = d, d = c, c = _mm512_rol_epi32(b, 30), b = a;                                                              \
        a = _mm512_add_epi32(sum, _mm512_rol_epi32(b, 5));                                                             \
    } while (0)

#define TWENTY(first, table, constant)                                                                                 \
    _Pragma("GCC unroll 20") for (int t = (first); t < (first) + 20; t++) ROUND(t, table, constant)

/* `count` blocks of each lane, which begin at `rows` and lie `steps` bytes apart. */
LEPTON_AVX512 static void compress(__m512i *state, const uint8_t **rows, const size_t *steps, size_t count)
{
    while (count--) {
        __m512i w[LANES], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
        transpose(rows, w);
        TWENTY(0, 0xCA, 0x5A827999);
        TWENTY(20, 0x96, 0x6ED9EBA1);
        TWENTY(40, 0xE8, 0x8F1BBCDC);
        TWENTY(60, 0x96, 0xCA62C1D6);
        state[0] = _mm512_add_epi32(state[0], a), state[1] = _mm512_add_epi32(state[1], b);
        state[2] = _mm512_add_epi32(state[2], c), state[3] = _mm512_add_epi32(state[3], d);
        state[4] = _mm512_add_epi32(state[4], e);
        for (int i = 0; i < LANES; i++)
            rows[i] += steps[i];
    }
}

/* The lane's next block, put together from the ends of parts, and of the padding. */
static void gather(struct lane *lane)
{
    size_t done = 0;
    while (lane->count && done < BLOCK) {
        size_t left = *lane->sizes - lane->at, taken = left < BLOCK - done ? left : BLOCK - done;
        memcpy(lane->block + done, *lane->parts + lane->at, taken);
        done += taken, lane->at += taken;
        if (lane->at == *lane->sizes)
            lane->parts++, lane->sizes++, lane->count--, lane->at = 0;
    }
    if (done == BLOCK)
        return;
    memset(lane->block + done, 0, BLOCK - done);
    if (lane->padding == NOTHING)
        lane->block[done++] = 0x80, lane->padding = BIT;
    if (done <= BLOCK - 8) {
        for (int i = 0; i < 8; i++)
            lane->block[BLOCK - 1 - i] = (uint8_t)(lane->length * 8 >> 8 * i);
        lane->padding = LENGTH;
    }
}

/* Takes blocks from where the lane stands: how many, and at `row` where they are; 0 if the message is over. */
static size_t take(struct lane *lane, const uint8_t **row)
{
    if (lane->padding == LENGTH)
        return 0;
    while (lane->count && lane->at == *lane->sizes)
        lane->parts++, lane->sizes++, lane->count--, lane->at = 0;
    if (lane->count && *lane->sizes - lane->at >= BLOCK) {
        size_t blocks = (*lane->sizes - lane->at) / BLOCK;
        *row = *lane->parts + lane->at;
        lane->at += blocks * BLOCK;
        return blocks;
    }
    gather(lane);
    *row = lane->block;
    return 1;
}

LEPTON_AVX512 static void hash_lanes(struct lane *lanes, size_t messages, uint8_t *digests)
{
    static const uint8_t nothing[BLOCK];
    static const uint32_t first[WORDS] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    __m512i state[WORDS];
    for (int k = 0; k < WORDS; k++)
        state[k] = _mm512_set1_epi32((int)first[k]);
    size_t blocks[LANES] = {0}, running = messages;
    const uint8_t *rows[LANES];
    int over[LANES] = {0};
    while (running) {
        size_t steps[LANES] = {0}, fewest = SIZE_MAX;
        for (size_t i = 0; i < LANES; i++) {
            if (i < messages && !over[i] && !blocks[i] && !(blocks[i] = take(&lanes[i], &rows[i]))) {
                over[i] = 1, running--;
                for (int k = 0; k < WORDS; k++) {
                    uint32_t word = __builtin_bswap32(((const u32 *)&state[k])[i]);
                    memcpy(digests + 4 * (WORDS * i + (size_t)k), &word, sizeof word);
                }
            }
            if (i >= messages || over[i])
                rows[i] = nothing;
            else if (steps[i] = BLOCK, blocks[i] < fewest)
                fewest = blocks[i];
        }
        if (!running)
            return;
        compress(state, rows, steps, fewest);
        for (size_t i = 0; i < messages; i++)
            blocks[i] -= over[i] ? 0 : fewest;
    }
}
#endif

/* The hashes of 1 to 16 messages, 20 bytes each. Message i consists of `counts[i]` of the `parts`, which follow those of
 * the message before. Returns 0 where this processor has nothing that is faster than one after another. */
LEPTON_API int lepton_sha1(const uint8_t *const *parts, const size_t *sizes, const size_t *counts, size_t messages,
                           uint8_t *digests)
{
#ifdef LEPTON_AVX512
    if (!__builtin_cpu_supports("avx512bw"))
        return 0;
    struct lane lanes[LANES];
    for (size_t i = 0; i < messages; i++) {
        lanes[i] = (struct lane){.parts = parts, .sizes = sizes, .count = counts[i]};
        for (size_t k = 0; k < counts[i]; k++)
            lanes[i].length += sizes[k];
        parts += counts[i], sizes += counts[i];
    }
    hash_lanes(lanes, messages, digests);
    return 1;
#else
    (void)parts, (void)sizes, (void)counts, (void)messages, (void)digests;
    return 0;
#endif
}
