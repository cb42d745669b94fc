/* The payload of the planes and delta codecs, as codec/payload.py describes it, in one call from elements to bytes.
 *
 * Which method a plane gets is tried on a sample of it, as there. Repeats, which Huffman coding does not see, are left to
 * zstd. Reading, nothing is believed: bytes may come from anybody, and what is not understood is refused. */

#include "literals.h"
#include "planes.h"

enum { STORED, ZSTD, CONSTANT, SPARSE };
enum { ENTRY = 5, SPARSE_HEAD = 2 + 2 * ENTRY }; /* bytes of a plane's entry; the common byte and a table of two */
enum { WIDEST = 8 };

/* A plane as it will be written. */
struct packed {
    unsigned method;
    size_t size;
};

/* Greatest size for which compressed bytes are kept: 0.97, as in payload.py. */
LEPTON_INLINE size_t worth(size_t n)
{
    return n * 97 / 100;
}

/* Whether no code could make these bytes smaller by 3 %: the Rényi entropy of order 2, a lower bound of Shannon's, is over
 * 7.76 bits (2^7.76 = 216.8), estimated without bias. */
static int is_noise(const struct lepton_counts *counts, size_t n)
{
    uint64_t pairs = 0;
    for (int s = 0; s < SYMBOLS; s++)
        pairs += (uint64_t)counts->of[s] * (counts->of[s] - (counts->of[s] > 0));
    return pairs * 2168 < (uint64_t)n * (n - 1) * 10;
}

static struct packed pack_simple(const uint8_t *plane, size_t n, uint8_t *out)
{
    if (n && memcmp(plane, plane + 1, n - 1) == 0) {
        out[0] = plane[0];
        return (struct packed){CONSTANT, 1};
    }
    size_t size = lepton_write_literals(plane, n, worth(n), out);
    if (size)
        return (struct packed){ZSTD, size};
    memcpy(out, plane, n);
    return (struct packed){STORED, n};
}

LEPTON_INLINE void put_entry(uint8_t *out, struct packed plane)
{
    uint32_t size = (uint32_t)plane.size;
    out[0] = (uint8_t)plane.method;
    memcpy(out + 1, &size, sizeof size);
}

/* `scratch` has room for a bitmap and all bytes. */
static struct packed pack_sparse(const uint8_t *plane, size_t n, uint8_t common, uint8_t *scratch, uint8_t *out)
{
    uint8_t *bitmap = scratch, *rest = scratch + (n + 7) / 8;
    size_t count = lepton_sparse_split(plane, n, common, bitmap, rest);
    struct packed first = pack_simple(bitmap, (n + 7) / 8, out + SPARSE_HEAD);
    struct packed second = pack_simple(rest, count, out + SPARSE_HEAD + first.size);
    out[0] = common;
    out[1] = 2;
    put_entry(out + 2, first);
    put_entry(out + 2 + ENTRY, second);
    return (struct packed){SPARSE, SPARSE_HEAD + first.size + second.size};
}

/* Whether zstd would find repeats: of 16 bytes, which chance alone hardly makes, in more than one of 64. Runs of one byte
 * are none. */
static int has_repeats(const uint8_t *data, size_t n)
{
    enum { LENGTH = 16 };
    uint32_t last[256] = {0};
    size_t covered = 0, step;
    for (size_t i = 1; i + LENGTH <= n; i += step) {
        uint64_t word = *(const u64 *)(data + i);
        uint32_t *place = &last[word * 0x9E3779B97F4A7C15u >> 56];
        step = memcmp(data + i, data + *place, LENGTH) == 0 ? LENGTH : 1;
        covered += step == LENGTH && word != (uint8_t)word * 0x0101010101010101u ? LENGTH : 0;
        *place = (uint32_t)i;
    }
    return covered * 64 > n;
}

/* Shrink a plane by the method that does best on a sample. `scratch` has room for SAMPLE and for two planes and an eighth.
 * Returns 0 where zstd had better do it. */
static int pack_plane(const uint8_t *plane, size_t n, uint8_t *scratch, uint8_t *out, struct packed *packed)
{
    const uint8_t *sample = plane;
    struct lepton_counts counts;
    size_t size = n;
    unsigned common = 0;
    if (lepton_gather(plane, n, scratch))
        sample = scratch, size = SAMPLE;
    scratch += SAMPLE;
    lepton_count(sample, size, &counts);
    for (unsigned s = 0; s < SYMBOLS; s++)
        common = counts.of[s] > counts.of[common] ? s : common;
    size_t occurs = counts.of[common];
    int half_full = occurs * 5 > size * 2;
    if (size != n && is_noise(&counts, size)) {
        memcpy(out, plane, n);
        *packed = (struct packed){STORED, n};
        return 1;
    }
    if (!half_full) {
        if (has_repeats(sample, size))
            return 0;
        *packed = pack_simple(plane, n, out);
        return 1;
    }
    struct packed sparse = pack_sparse(sample, size, (uint8_t)common, scratch, out);
    if (occurs != size && has_repeats(scratch + (size + 7) / 8, size - occurs))
        return 0;
    *packed = pack_simple(sample, size, out);
    if (sparse.size < packed->size)
        *packed = pack_sparse(plane, n, (uint8_t)common, scratch, out);
    else if (size != n)
        *packed = pack_simple(plane, n, out);
    return 1;
}

/* Bytes of scratch that `n` elements of `width` bytes need here. */
LEPTON_API size_t lepton_payload_scratch(size_t n, unsigned width)
{
    return (width + 2) * (n + n / 8 + 16) + SAMPLE;
}

/* Bytes that a payload may take. */
LEPTON_API size_t lepton_payload_room(size_t n, unsigned width)
{
    return 1 + width * (ENTRY + SPARSE_HEAD + n + n / 8 + 1) + SAMPLE;
}

/* Elements `x`, or their differences from `y`, as a payload. Returns its size, or 0 where zstd had better do it. */
LEPTON_API size_t lepton_pack(const void *x, const void *y, size_t n, unsigned width, int floats, uint8_t *scratch,
                              uint8_t *out)
{
    uint8_t *planes[WIDEST] = {0}, *at = out + 1 + width * ENTRY;
    for (unsigned k = 0; k < width; k++)
        planes[k] = scratch + k * n;
    lepton_split(x, y, n, width, floats, planes);
    out[0] = (uint8_t)width;
    for (unsigned k = 0; k < width; k++) {
        struct packed packed;
        if (!pack_plane(planes[k], n, scratch + width * n, at, &packed))
            return 0;
        put_entry(out + 1 + k * ENTRY, packed);
        at += packed.size;
    }
    return (size_t)(at - out);
}

/* --- and back --- */

/* Read a table of `count` planes, which must cover all bytes behind it. `where` gets the planes' bytes. */
static int get_table(const uint8_t *in, size_t length, unsigned count, struct packed *planes, const uint8_t **where)
{
    size_t used = 1 + count * ENTRY;
    if (length < used || in[0] != count)
        return 0;
    for (unsigned k = 0; k < count; k++) {
        uint32_t size;
        memcpy(&size, in + 2 + k * ENTRY, sizeof size);
        planes[k] = (struct packed){in[1 + k * ENTRY], size};
        where[k] = in + used;
        if (size > length - used)
            return 0;
        used += size;
    }
    return used == length;
}

/* A plane of `n` bytes, in place or in `scratch`; NULL where it is not for us to say what is wrong. */
static const uint8_t *unpack_simple(struct packed plane, const uint8_t *in, size_t n, uint8_t *scratch)
{
    switch (plane.method) {
    case STORED:
        return plane.size == n ? in : NULL;
    case ZSTD:
        return lepton_read_literals(in, plane.size, scratch, n) ? scratch : NULL;
    case CONSTANT:
        return plane.size == 1 ? memset(scratch, in[0], n) : NULL;
    default:
        return NULL;
    }
}

/* Likewise for a sparse one; behind the plane, `scratch` has room for a bitmap and another plane. */
static const uint8_t *unpack_sparse(struct packed plane, const uint8_t *in, size_t n, uint8_t *scratch)
{
    struct packed parts[2];
    const uint8_t *where[2], *bitmap, *rest;
    size_t bytes = (n + 7) / 8, count;
    if (!plane.size || !get_table(in + 1, plane.size - 1, 2, parts, where))
        return NULL;
    bitmap = unpack_simple(parts[0], where[0], bytes, scratch + n);
    if (!bitmap || (n % 8 && bitmap[bytes - 1] >> n % 8))
        return NULL;
    count = lepton_ones(bitmap, bytes);
    rest = unpack_simple(parts[1], where[1], count, scratch + n + bytes);
    if (!rest)
        return NULL;
    lepton_sparse_join(bitmap, rest, in[0], n, scratch);
    return scratch;
}

/* The planes of a payload. Returns 0 where zstd, or the reader of any payload, has to look. */
static int unpack_planes(const uint8_t *payload, size_t length, size_t n, unsigned width, uint8_t *scratch,
                         const uint8_t **planes)
{
    struct packed packed[WIDEST];
    const uint8_t *where[WIDEST];
    if (!get_table(payload, length, width, packed, where))
        return 0;
    for (unsigned k = 0; k < width; k++, scratch += n) {
        planes[k] = packed[k].method == SPARSE ? unpack_sparse(packed[k], where[k], n, scratch)
                                               : unpack_simple(packed[k], where[k], n, scratch);
        if (!planes[k])
            return 0;
    }
    return 1;
}

/* Undo `lepton_pack`: fill `out`. Returns 0 where others have to look. */
LEPTON_API int lepton_unpack(const uint8_t *payload, size_t length, const void *y, size_t n, unsigned width, int floats,
                             uint8_t *scratch, void *out)
{
    const uint8_t *planes[WIDEST];
    if (!unpack_planes(payload, length, n, width, scratch, planes))
        return 0;
    lepton_join(planes, y, n, width, floats, out);
    return 1;
}

/* Whether `lepton_unpack` would give the elements `x`. */
LEPTON_API int lepton_unpacks_to(const uint8_t *payload, size_t length, const void *y, size_t n, unsigned width,
                                 int floats, uint8_t *scratch, const void *x)
{
    const uint8_t *planes[WIDEST];
    return unpack_planes(payload, length, n, width, scratch, planes) && lepton_holds(planes, y, n, width, floats, x);
}
