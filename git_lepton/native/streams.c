/* Bytes to Huffman coded streams and back, in the form that zstd gives them (RFC 8878, section 4.2.2).
 *
 * A stretch of bytes is divided into four streams, each written backwards, so that four chains of dependent steps run side
 * by side when they are written and read. */

#include "bits.h"
#include "huffman.h"

LEPTON_CLONES void lepton_count(const uint8_t *data, size_t n, struct lepton_counts *counts)
{
    /* Equal neighbours would wait for each other's increment: each place of eight has counters of its own. */
    uint32_t rows[8][SYMBOLS];
    memset(rows, 0, sizeof rows);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word = *(const u64 *)(data + i);
        for (int k = 0; k < 8; k++)
            rows[k][(uint8_t)(word >> 8 * k)]++;
    }
    for (; i < n; i++)
        rows[0][data[i]]++;
    for (int s = 0; s < SYMBOLS; s++) {
        uint32_t sum = 0;
        for (int k = 0; k < 8; k++)
            sum += rows[k][s];
        counts->of[s] = sum;
    }
}

static LEPTON_CLONES void bounds(const uint8_t *data, size_t n, uint8_t *least, uint8_t *greatest)
{
    uint8_t low = 255, high = 0;
    for (size_t i = 0; i < n; i++) {
        low = data[i] < low ? data[i] : low;
        high = data[i] > high ? data[i] : high;
    }
    *least = low, *greatest = high;
}

int lepton_gather(const uint8_t *data, size_t n, uint8_t *sample)
{
    enum { PIECES = 8, PIECE = SAMPLE / PIECES };
    if (n <= 2 * SAMPLE)
        return 0;
    for (int k = 0; k < PIECES; k++)
        memcpy(sample + k * PIECE, data + n / PIECES * k, PIECE);
    return 1;
}

size_t lepton_sample(const uint8_t *data, size_t n, struct lepton_counts *counts)
{
    enum { UNSEEN = 24 };
    uint8_t least, greatest, sample[SAMPLE];
    unsigned unseen = 0;
    if (lepton_gather(data, n, sample)) {
        lepton_count(sample, sizeof sample, counts);
        bounds(data, n, &least, &greatest);
        for (unsigned s = least; s <= greatest; s++)
            unseen += !counts->of[s];
        if (unseen <= UNSEEN) {
            for (unsigned s = least; s <= greatest; s++)
                counts->of[s] += !counts->of[s];
            return sizeof sample;
        }
    }
    lepton_count(data, n, counts);
    return n;
}

/* --- writing streams --- */

/* A stream in the making: `word` has `count` bits that are not written yet; what is to be coded ends at `end`. */
struct stream {
    uint64_t word;
    uint64_t count;
    uint8_t *out;
    const uint8_t *end;
};

/* Codes of two neighbours at once, the second one's below the first one's: value << 8 | bits. Only pairs of symbols that
 * occur are there. */
struct pairs {
    uint32_t code[SYMBOLS * SYMBOLS];
};

enum {
    FEW = 96,   /* symbols, up to which making pairs is quicker than doing without */
    GROUP = 4,  /* symbols between flushes: 7 bits may be left from before, and so many codes more fit a word */
};

/* Two codes for every two symbols that occur. Returns 0 when they are too many. */
static int make_pairs(const struct lepton_code *code, struct pairs *pairs)
{
    uint8_t occurs[SYMBOLS];
    unsigned count = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        occurs[count] = (uint8_t)s;
        count += code->bits[s] > 0;
    }
    if (count > FEW)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t *row = pairs->code + SYMBOLS * occurs[i], second = occurs[i];
        for (unsigned k = 0; k < count; k++) {
            unsigned first = occurs[k];
            row[first] = ((uint32_t)code->value[first] << code->bits[second] | code->value[second]) << 8 |
                         (code->bits[first] + code->bits[second]);
        }
    }
    return 1;
}

LEPTON_INLINE void put_code(struct stream *at, uint32_t code)
{
    at->word |= (uint64_t)(code >> 8) << (at->count & 63);
    at->count += (uint8_t)code;
}

LEPTON_INLINE void flush(struct stream *at)
{
    *(u64 *)at->out = at->word;
    at->out += at->count >> 3;
    at->word >>= at->count & 56;
    at->count &= 7;
}

LEPTON_INLINE void put_group(struct stream *at, const uint32_t *pairs, const struct lepton_code *code)
{
    if (pairs) {
        put_code(at, pairs[*(const u16 *)(at->end - 2)]);
        put_code(at, pairs[*(const u16 *)(at->end - 4)]);
    } else {
        for (int k = 1; k <= GROUP; k++)
            put_code(at, (uint32_t)code->value[at->end[-k]] << 8 | code->bits[at->end[-k]]);
    }
    at->end -= GROUP;
    flush(at);
}

/* Code `groups` groups of each stream. */
static LEPTON_CLONES void put_groups(struct stream *at, const struct lepton_code *code, size_t groups)
{
    struct stream a = at[0], b = at[1], c = at[2], d = at[3];
    struct pairs pairs;
    int paired = make_pairs(code, &pairs);
    for (; paired && groups; groups--) {
        put_group(&a, pairs.code, code);
        put_group(&b, pairs.code, code);
        put_group(&c, pairs.code, code);
        put_group(&d, pairs.code, code);
    }
    for (; groups; groups--) {
        put_group(&a, NULL, code);
        put_group(&b, NULL, code);
        put_group(&c, NULL, code);
        put_group(&d, NULL, code);
    }
    at[0] = a, at[1] = b, at[2] = c, at[3] = d;
}

/* Code what is left down to `start`, and a 1, which tells where the stream begins. */
static uint8_t *put_rest(struct stream *at, const struct lepton_code *code, const uint8_t *start)
{
    struct bits rest = {at->word, (unsigned)at->count, at->out};
    while (at->end > start) {
        uint8_t symbol = *--at->end;
        put_bits(&rest, code->value[symbol], code->bits[symbol]);
    }
    put_bits(&rest, 1, 1);
    if (rest.count)
        put_bits(&rest, 0, 8 - rest.count);
    return rest.out;
}

size_t lepton_encode_streams(const struct lepton_code *code, const uint8_t *data, size_t n, unsigned streams, size_t most,
                             uint8_t *out)
{
    enum { ROOM = MOST_CODED / STREAMS * LONGEST / 8 + 16 };
    uint8_t rooms[STREAMS][ROOM]; /* side by side, since nobody knows how long each becomes; words are written whole */
    struct stream at[STREAMS];
    size_t step = (n + streams - 1) / streams, last = n - (streams - 1) * step, size = streams > 1 ? JUMPS : 0;
    for (unsigned k = 0; k < streams; k++)
        at[k] = (struct stream){0, 0, rooms[k], data + (k + 1 < streams ? (k + 1) * step : n)};
    if (streams == STREAMS)
        put_groups(at, code, last / GROUP);
    for (unsigned k = 0; k < streams; k++) {
        size_t bytes = (size_t)(put_rest(&at[k], code, data + k * step) - rooms[k]);
        if (size + bytes > most || bytes > UINT16_MAX)
            return 0;
        memcpy(out + size, rooms[k], bytes);
        size += bytes;
        if (k + 1 < streams)
            out[2 * k] = (uint8_t)bytes, out[2 * k + 1] = (uint8_t)(bytes >> 8);
    }
    return size;
}

/* --- reading streams --- */

enum { SYMBOLS_AT_ONCE = 6, BETWEEN_REFILLS = 5 };

/* A stream that is read whole words at a time: the next bits are at the top of `word`, below them a 1 and zeros. */
struct reader {
    uint64_t word;
    const uint8_t *in;
    uint8_t *out;
};

LEPTON_INLINE void take_group(struct reader *at, const uint64_t *entries)
{
    for (int k = 0; k < BETWEEN_REFILLS; k++) {
        uint64_t entry = entries[at->word >> (64 - LONGEST)];
        at->word <<= entry & 63;
        *(u64 *)at->out = entry >> 16;
        at->out += entry >> 8 & 0xFF;
    }
    unsigned taken = (unsigned)__builtin_ctzll(at->word);
    at->in -= taken >> 3;
    at->word = (*(const u64 *)at->in | 1) << (taken & 7);
}

/* Read on while every stream has a word to load before its start and room for what a group may write. */
static LEPTON_CLONES void take_groups(struct reader *at, const uint64_t *entries, const uint8_t *const *start,
                                      uint8_t *const *end)
{
    struct reader a = at[0], b = at[1], c = at[2], d = at[3];
    const size_t MOST = BETWEEN_REFILLS * SYMBOLS_AT_ONCE + 2;
    for (;;) {
        /* Each stream gives at most MOST bytes a group and takes at most a word: so many groups are surely possible. */
        size_t groups = SIZE_MAX;
        const struct reader *now[STREAMS] = {&a, &b, &c, &d};
        for (int k = 0; k < STREAMS; k++) {
            size_t room = (size_t)(end[k] - now[k]->out) / MOST, words = (size_t)(now[k]->in - start[k]) / 8;
            groups = room < groups ? room : groups;
            groups = words < groups ? words : groups;
        }
        if (!groups)
            break;
        while (groups--) {
            take_group(&a, entries);
            take_group(&b, entries);
            take_group(&c, entries);
            take_group(&d, entries);
        }
    }
    at[0] = a, at[1] = b, at[2] = c, at[3] = d;
    for (int k = 0; k < STREAMS; k++) /* those that take more bits for a symbol are not done yet */
        while (end[k] - at[k].out >= (ptrdiff_t)MOST && at[k].in - start[k] >= 8)
            take_group(&at[k], entries);
}

/* Read what is left, symbol by symbol, and see that it is as many bits as were there. */
static int take_rest(struct backwards at, const struct lepton_decoder *decoder, uint8_t *out, const uint8_t *end)
{
    while (out < end) {
        uint8_t symbol = (uint8_t)(decoder->entries[peek(&at, LONGEST)] >> 16);
        if (at.left < decoder->bits[symbol])
            return 0;
        at.left -= decoder->bits[symbol];
        *out++ = symbol;
    }
    return at.left == 0;
}

int lepton_decode_streams(const struct lepton_decoder *decoder, const uint8_t *data, size_t length, unsigned streams,
                          uint8_t *out, size_t n)
{
    const uint8_t *start[STREAMS];
    uint8_t *end[STREAMS];
    struct reader fast[STREAMS];
    struct backwards at[STREAMS];
    size_t step = (n + streams - 1) / streams, used = streams > 1 ? JUMPS : 0;
    if (length < used || (streams - 1) * step > n)
        return 0;
    int long_enough = streams == STREAMS;
    for (unsigned k = 0; k < streams; k++) {
        size_t bytes = k + 1 < streams ? data[2 * k] | (size_t)data[2 * k + 1] << 8 : length - used;
        if (bytes > length - used || !open_backwards(&at[k], data + used, bytes))
            return 0;
        start[k] = data + used;
        end[k] = out + (k + 1 < streams ? (k + 1) * step : n);
        used += bytes;
        fast[k] = (struct reader){0, data + used, out + k * step};
        long_enough &= bytes >= 16;
    }
    if (long_enough) {
        for (unsigned k = 0; k < STREAMS; k++) {
            fast[k].in -= 8;
            fast[k].word = (*(const u64 *)fast[k].in | 1) << (8 - at[k].left % 8);
        }
        take_groups(fast, decoder->entries, start, end);
        for (unsigned k = 0; k < STREAMS; k++)
            at[k].left = 8 * (size_t)(fast[k].in - start[k]) + 64 - (unsigned)__builtin_ctzll(fast[k].word);
    }
    for (unsigned k = 0; k < streams; k++)
        if (fast[k].out > end[k] || !take_rest(at[k], decoder, fast[k].out, end[k]))
            return 0;
    return 1;
}
