/* zstd frames without a search for repeats: weights have skewed bytes, hardly ever repeated ones.
 *
 *     frame   magic, descriptor, content size; blocks of at most 128 KiB (RFC 8878, 3.1.1)
 *     block   stored, one byte repeated, or literals in four Huffman streams behind a table or under the last one's
 *
 * Every zstd decoder reads them. Frames with repeats, checksums, dictionaries or windows are left to zstd. */

#include "literals.h"

enum { BLOCK = 128 << 10, BLOCK_HEAD = 3, FEWEST = 64, SINGLE = 256 };
enum { RUN = 32, LONG_RUN = 256 }; /* what is worth a block beside raw bytes, and beside coded ones */
enum { RAW, REPEATED, COMPRESSED };          /* kinds of blocks */
enum { WITH_TABLE = 2, SAME_TABLE = 3 };     /* kinds of literals */

static const uint8_t MAGIC[4] = {0x28, 0xB5, 0x2F, 0xFD};
enum { SINGLE_SEGMENT = 1 << 5, HEAD = 9 };  /* magic, descriptor and size, at most */

/* Bytes that tell the size of a frame's content, and the descriptor that tells how many they are. */
LEPTON_INLINE int width_of_size(size_t n)
{
    return n < 256 ? 1 : n < 65536 + 256 ? 2 : 4;
}

LEPTON_INLINE uint8_t descriptor(int width)
{
    return (uint8_t)(width >> 1 << 6 | SINGLE_SEGMENT);
}

/* Bytes of the head of `n` literals. */
LEPTON_INLINE size_t literals_head(size_t n)
{
    return n < 1 << 10 ? 3 : n < 1 << 14 ? 4 : 5;
}

/* How many of the `n` bytes at `data` are like the first one, from there on. */
LEPTON_INLINE size_t run_length(const uint8_t *data, size_t n)
{
    size_t i = 1;
    uint64_t first = data[0] * 0x0101010101010101u, word;
    for (; i + 8 <= n; i += 8) {
        word = *(const u64 *)(data + i);
        if (word != first)
            return i + (size_t)__builtin_ctzll(word ^ first) / 8;
    }
    while (i < n && data[i] == data[0])
        i++;
    return i;
}

/* Where the first long run begins, or `n`. One that ends within a word of the end may be missed. */
static size_t find_long_run(const uint8_t *data, size_t n)
{
    uint64_t word;
    for (size_t i = 0; i + LONG_RUN / 2 <= n; i += LONG_RUN / 2) {
        word = *(const u64 *)(data + i + LONG_RUN / 2 - sizeof word); /* any long run has one of these */
        if (word != data[i + LONG_RUN / 2 - 1] * 0x0101010101010101u)
            continue;
        size_t start = i + LONG_RUN / 2 - sizeof word;
        while (start && data[start - 1] == data[start])
            start--;
        if (run_length(data + start, n - start) >= LONG_RUN)
            return start;
    }
    return n;
}

LEPTON_INLINE uint8_t *put_bytes(uint8_t *out, uint64_t value, int bytes)
{
    for (int k = 0; k < bytes; k++)
        *out++ = (uint8_t)(value >> 8 * k);
    return out;
}

LEPTON_INLINE uint8_t *put_block_head(uint8_t *out, unsigned kind, size_t told, int last)
{
    return put_bytes(out, (uint64_t)last | kind << 1 | (uint64_t)told << 3, BLOCK_HEAD);
}

/* Write runs of one byte as repeated, and what is between them as it is. Returns the size, or 0 if that is over `most`. */
static size_t put_runs(const uint8_t *data, size_t n, int last, size_t most, uint8_t *out)
{
    uint8_t *at = out;
    for (size_t from = 0, i = 0; i < n;) {
        size_t run = run_length(data + i, n - i), between = i - from;
        i += run;
        if (run < RUN && i < n)
            continue;
        if (run < RUN)
            between += run, run = 0;
        if ((size_t)(at - out) + between + 2 * BLOCK_HEAD + 1 > most)
            return 0;
        if (between) {
            at = put_block_head(at, RAW, between, last && i == n && !run);
            memcpy(at, data + from, between);
            at += between;
        }
        if (run) {
            at = put_block_head(at, REPEATED, run, last && i == n);
            *at++ = data[i - 1];
        }
        from = i;
    }
    return (size_t)(at - out);
}

/* What is carried from block to block: the last table, if there was one, and how much longer than the entropy it makes
 * the block that it was made for. */
struct table {
    struct lepton_code code;
    int there;
    double redundancy;
};

/* How a block is to be coded: with a table of its own, or the one before; and what that will take, nearly. */
struct plan {
    struct lepton_code own;
    int fresh;
    double redundancy; /* of its own */
    size_t size;
};

/* Choose for `n` bytes, of which `counted` ones were counted. Returns 0 if no code is worth it. A table costs time to be
 * made, and to be read, so the one before is kept while it is nearly as good as it was. */
static int choose_code(const struct lepton_counts *counts, size_t counted, size_t n, const struct table *before,
                       struct plan *plan)
{
    const double NEARLY = 1.002;
    double share = (double)n / (double)counted / 8, entropy = lepton_entropy_bits(counts, counted);
    size_t old = before->there ? lepton_coded_bits(counts, &before->code) : SIZE_MAX;
    plan->size = old == SIZE_MAX ? SIZE_MAX : (size_t)((double)old * share);
    plan->fresh = old == SIZE_MAX || (double)old > entropy * before->redundancy * NEARLY;
    if (plan->fresh) {
        if (!lepton_make_code(counts, &plan->own))
            return 0;
        size_t bits = lepton_coded_bits(counts, &plan->own);
        size_t own = (size_t)((double)bits * share) + plan->own.tree_size;
        plan->redundancy = entropy > 0 ? (double)bits / entropy : 1;
        plan->fresh = own < plan->size;
        plan->size = plan->fresh ? own : plan->size;
    }
    return plan->size < n;
}

/* Write a block of Huffman coded literals. Returns its size, or 0 if that would be over `most`. */
static size_t put_coded(const uint8_t *data, size_t n, int last, const struct plan *plan, struct table *table, size_t most,
                        uint8_t *out)
{
    const struct lepton_code *code = plan->fresh ? &plan->own : &table->code;
    unsigned streams = n < SINGLE ? 1 : STREAMS;
    size_t head = literals_head(n), tree = plan->fresh ? code->tree_size : 0, front = BLOCK_HEAD + head + tree, coded;
    if (front + 1 >= most || !(coded = lepton_encode_streams(code, data, n, streams, most - front - 1, out + front)))
        return 0;
    unsigned width = head == 3 ? 10 : head == 4 ? 14 : 18, format = streams == 1 ? 0 : (unsigned)head - 2;
    uint64_t kind = plan->fresh ? WITH_TABLE : SAME_TABLE, size = tree + coded;
    uint8_t *at = put_block_head(out, COMPRESSED, head + size + 1, last);
    at = put_bytes(at, kind | format << 2 | (uint64_t)n << 4 | size << (4 + width), (int)head);
    memcpy(at, code->tree, tree);
    if (plan->fresh)
        *table = (struct table){plan->own, 1, plan->redundancy};
    out[front + coded] = 0; /* no sequences */
    return front + coded + 1;
}

/* Write a block in the form that is the shortest. Returns its size, or 0 if that would be over `most`. */
static size_t put_block(const uint8_t *data, size_t n, int last, struct table *table, size_t most, uint8_t *out)
{
    struct lepton_counts counts;
    struct plan plan;
    int repeated = n && run_length(data, n) == n;
    size_t raw = BLOCK_HEAD + (repeated ? 1 : n), room = raw < most ? raw : most, size = 0, commonest = 0;
    if (n >= FEWEST && !repeated) {
        size_t counted = lepton_sample(data, n, &counts);
        for (int s = 0; s < SYMBOLS; s++)
            commonest = counts.of[s] > commonest ? counts.of[s] : commonest;
        if (choose_code(&counts, counted, n, table, &plan)) {
            if (commonest * 20 > counted * 19)
                size = put_runs(data, n, last, plan.size < room ? plan.size : room, out);
            if (!size)
                size = put_coded(data, n, last, &plan, table, room, out);
        }
    }
    if (size || raw > most)
        return size;
    memcpy(put_block_head(out, repeated ? REPEATED : RAW, n, last), data, raw - BLOCK_HEAD);
    return raw;
}

size_t lepton_write_literals(const uint8_t *data, size_t n, size_t most, uint8_t *out)
{
    struct table table;
    size_t start = 0, count, used, size;
    int width = width_of_size(n);
    if (n > UINT32_MAX || most < HEAD)
        return 0;
    table.there = 0; /* the rest of it is not read before it is written */
    memcpy(out, MAGIC, sizeof MAGIC);
    out[4] = descriptor(width);
    put_bytes(out + 5, width == 2 ? n - 256 : n, width);
    used = 5 + (size_t)width;
    do {
        count = n - start < BLOCK ? n - start : BLOCK;
        size_t run = find_long_run(data + start, count);
        count = run || !n ? run : run_length(data + start, count);
        size = put_block(data + start, count, start + count == n, &table, most - used, out + used);
        used += size, start += count;
    } while (size && start < n);
    return size ? used : 0;
}

LEPTON_INLINE uint64_t get_bytes(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t k = 0; k < bytes; k++)
        value |= (uint64_t)at[k] << 8 * k;
    return value;
}

/* A compressed block of at most `room` bytes; returns how many, or 0 when there is more to it than literals. `*coded`
 * tells whether there is a table. */
static size_t get_literals(const uint8_t *in, size_t length, uint8_t *out, size_t room, struct lepton_decoder *decoder,
                           int *coded)
{
    if (length < 5 || in[length - 1] != 0)
        return 0;
    unsigned kind = in[0] & 3, format = in[0] >> 2 & 3, width = format < 2 ? 10 : format == 2 ? 14 : 18;
    size_t head = format < 2 ? 3 : format + 2u, mask = ((size_t)1 << width) - 1;
    uint64_t word = get_bytes(in, head);
    size_t n = word >> 4 & mask, size = word >> (4 + width) & mask;
    if (kind < WITH_TABLE || n > room || head + size + 1 != length)
        return 0;
    in += head;
    if (kind == WITH_TABLE) {
        size_t tree = lepton_read_tree(in, size, decoder);
        if (!tree)
            return 0;
        in += tree, size -= tree, *coded = 1;
    }
    return *coded && lepton_decode_streams(decoder, in, size, format ? STREAMS : 1, out, n) ? n : 0;
}

int lepton_read_literals(const uint8_t *frame, size_t length, uint8_t *out, size_t n)
{
    struct lepton_decoder decoder;
    const uint8_t *in = frame, *end = frame + length;
    int coded = 0, width = width_of_size(n), last = 0;
    if (n > UINT32_MAX || length < 5u + (unsigned)width || memcmp(in, MAGIC, sizeof MAGIC) != 0 ||
        in[4] != descriptor(width) || get_bytes(in + 5, (size_t)width) != (width == 2 ? n - 256 : n))
        return 0;
    in += 5 + width;
    for (size_t done = 0; !last;) {
        if (end - in < BLOCK_HEAD)
            return 0;
        uint64_t head = get_bytes(in, BLOCK_HEAD);
        unsigned kind = head >> 1 & 3;
        size_t told = head >> 3, left = n - done, size = kind == REPEATED ? 1 : told;
        size_t count = kind == COMPRESSED ? 0 : told;
        last = head & 1;
        in += BLOCK_HEAD;
        if (kind > COMPRESSED || size > (size_t)(end - in) || count > left || count > BLOCK)
            return 0;
        if (kind == RAW)
            memcpy(out + done, in, count);
        else if (kind == REPEATED)
            memset(out + done, in[0], count);
        else if (!(count = get_literals(in, size, out + done, left < BLOCK ? left : BLOCK, &decoder, &coded)))
            return 0;
        in += size, done += count;
        if (last && done != n)
            return 0;
    }
    return in == end;
}
