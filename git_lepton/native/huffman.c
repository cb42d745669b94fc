/* Huffman codes of bytes: made, described and read as zstd does it (RFC 8878, sections 4.1 and 4.2.1).
 *
 * Codes are of at most 11 bits, optimal for that bound (package-merge: Larmore and Hirschberg, "A Fast Algorithm for
 * Optimal Length-Limited Huffman Codes", 1990). */

#include "bits.h"
#include "huffman.h"

/* --- making a code --- */

/* Symbols that occur, rarest first; returns their number. */
static unsigned sorted_symbols(const struct lepton_counts *counts, uint8_t *sorted)
{
    unsigned found = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        if (!counts->of[s])
            continue;
        unsigned at = found++;
        for (; at && counts->of[sorted[at - 1]] > counts->of[s]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = (uint8_t)s;
    }
    return found;
}

/* Package-merge: each level is a merged row of the symbols and of pairs ("packages") of the level below. Of the last row
 * the first 2 * count - 2 are taken; each package taken is two taken from the level below. A symbol's code has a bit for
 * each level that takes it. */
static void code_lengths(const struct lepton_counts *counts, const uint8_t *sorted, unsigned count, uint8_t *bits)
{
    uint64_t row[2 * SYMBOLS], packages[SYMBOLS];
    uint8_t is_package[LONGEST][2 * SYMBOLS];
    unsigned made = 0;
    for (int level = 0; level < LONGEST; level++) {
        unsigned symbol = 0, package = 0, length = 0;
        while (symbol < count || package < made) {
            int take = symbol == count || (package < made && packages[package] < counts->of[sorted[symbol]]);
            is_package[level][length] = (uint8_t)take;
            row[length++] = take ? packages[package++] : counts->of[sorted[symbol++]];
        }
        made = length / 2;
        for (unsigned k = 0; k < made; k++)
            packages[k] = row[2 * k] + row[2 * k + 1];
    }
    memset(bits, 0, SYMBOLS);
    unsigned taken = 2 * count - 2;
    for (int level = LONGEST - 1; level >= 0 && taken; level--) {
        unsigned below = 0;
        for (unsigned k = 0; k < taken; k++)
            below += is_package[level][k];
        for (unsigned k = 0; k < taken - below; k++)
            bits[sorted[k]]++;
        taken = 2 * below;
    }
}

/* zstd's canonical order: the longest codes are the lowest, and among equals the symbol decides. Returns the longest. */
static unsigned code_values(const uint8_t *bits, uint16_t *value)
{
    unsigned of_length[LONGEST + 2] = {0}, next[LONGEST + 2] = {0}, longest = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        of_length[bits[s]]++;
        longest = bits[s] > longest ? bits[s] : longest;
    }
    unsigned first = 0;
    for (unsigned length = longest; length; length--) {
        next[length] = first;
        first = (first + of_length[length]) >> 1;
    }
    for (int s = 0; s < SYMBOLS; s++)
        value[s] = bits[s] ? (uint16_t)next[bits[s]]++ : 0;
    return longest;
}

/* --- describing a code: weights, coded by finite state entropy (RFC 8878, 4.1 and 4.2.1) --- */

enum { WEIGHTS = LONGEST + 1, WEIGHT_LOG = 6, WEIGHT_STATES = 1 << WEIGHT_LOG };

/* Shares of 64 for each weight that occurs, none of them 0. */
static void normalise(const unsigned *occurs, unsigned total, unsigned *share)
{
    unsigned left = WEIGHT_STATES, greatest = 0;
    for (unsigned w = 0; w < WEIGHTS; w++) {
        share[w] = occurs[w] * WEIGHT_STATES / total;
        share[w] += occurs[w] && !share[w];
        greatest = share[w] > share[greatest] ? w : greatest;
    }
    for (unsigned w = 0; w < WEIGHTS; w++)
        left -= share[w];
    share[greatest] += left; /* modulo 2^32: there may be too many, but never more than the greatest has */
}

/* The shares as FSE_Table_Description (RFC 8878, 4.1.1); a share of 0 is followed by the number of zeros after it. */
static void put_shares(struct bits *at, const unsigned *share)
{
    unsigned remaining = WEIGHT_STATES + 1, threshold = WEIGHT_STATES, width = WEIGHT_LOG + 1;
    put_bits(at, WEIGHT_LOG - 5, 4);
    for (unsigned w = 0; remaining > 1;) {
        unsigned now = share[w++], most = 2 * threshold - 1 - remaining, value = now + 1;
        value += value >= threshold ? most : 0;
        put_bits(at, value, width - (value < most));
        remaining -= now;
        if (!now) {
            unsigned zeros = 0;
            while (!share[w + zeros])
                zeros++;
            for (w += zeros; zeros >= 3; zeros -= 3)
                put_bits(at, 3, 2);
            put_bits(at, zeros, 2);
        }
        while (remaining < threshold) {
            width--;
            threshold >>= 1;
        }
    }
    if (at->count)
        put_bits(at, 0, 8 - at->count);
}

/* Which symbol each state stands for (RFC 8878, 4.1.1, "From normalized distribution to decoding tables"). */
static void spread(const unsigned *share, uint8_t *symbol_of)
{
    unsigned at = 0;
    for (unsigned w = 0; w < WEIGHTS; w++)
        for (unsigned k = 0; k < share[w]; k++) {
            symbol_of[at] = (uint8_t)w;
            at = (at + (WEIGHT_STATES >> 1) + (WEIGHT_STATES >> 3) + 3) & (WEIGHT_STATES - 1);
        }
}

/* Write weights backwards, with two states that take turns. Returns the size, or 0 when this is no way to write them. */
static unsigned put_weights(const uint8_t *weight, unsigned count, uint8_t *out)
{
    unsigned occurs[WEIGHTS] = {0}, share[WEIGHTS], first[WEIGHTS], kinds = 0, sum = 0;
    uint8_t symbol_of[WEIGHT_STATES], next[WEIGHT_STATES];
    for (unsigned k = 0; k < count; k++)
        occurs[weight[k]]++;
    for (unsigned w = 0; w < WEIGHTS; w++)
        kinds += occurs[w] > 0;
    if (count < 3 || kinds < 2)
        return 0;
    normalise(occurs, count, share);
    spread(share, symbol_of);
    for (unsigned w = 0; w < WEIGHTS; w++) {
        first[w] = sum;
        sum += share[w];
    }
    unsigned placed[WEIGHTS];
    memcpy(placed, first, sizeof placed);
    for (unsigned state = 0; state < WEIGHT_STATES; state++)
        next[placed[symbol_of[state]]++] = (uint8_t)state;

    struct bits at = {0, 0, out};
    put_shares(&at, share);
    unsigned states[2] = {0, 0}; /* 64 to 127, or 0 before the first */
    for (unsigned k = count; k-- > 0;) {
        unsigned w = weight[k], *state = &states[k & 1], width = 0;
        if (*state) {
            while (*state >> width >= 2 * share[w])
                width++;
            put_bits(&at, *state & ((1u << width) - 1), width);
            *state = WEIGHT_STATES + next[first[w] + (*state >> width) - share[w]];
        } else {
            *state = WEIGHT_STATES + next[first[w]];
        }
    }
    put_bits(&at, states[1] - WEIGHT_STATES, WEIGHT_LOG);
    put_bits(&at, states[0] - WEIGHT_STATES, WEIGHT_LOG);
    put_bits(&at, 1, 1);
    if (at.count)
        put_bits(&at, 0, 8 - at.count);
    return (unsigned)(at.out - out);
}

/* The shorter of both descriptions; returns 0 when neither can be. */
static unsigned describe(const uint8_t *bits, unsigned longest, uint8_t *tree)
{
    uint8_t weight[SYMBOLS], coded[SYMBOLS];
    unsigned count = 0;
    for (unsigned s = 0; s < SYMBOLS; s++) {
        weight[s] = (uint8_t)(bits[s] ? longest + 1 - bits[s] : 0);
        count = bits[s] ? s : count; /* the last one's weight is what is missing */
    }
    unsigned size = put_weights(weight, count, coded);
    if (size && size < TREE_BYTES && size < (count + 1) / 2) {
        tree[0] = (uint8_t)size;
        memcpy(tree + 1, coded, size);
        return size + 1;
    }
    if (count > SYMBOLS / 2)
        return 0;
    weight[count] = 0;
    tree[0] = (uint8_t)(127 + count);
    for (unsigned k = 0; k < count; k += 2)
        tree[1 + k / 2] = (uint8_t)(weight[k] << 4 | weight[k + 1]);
    return 1 + (count + 1) / 2;
}

int lepton_make_code(const struct lepton_counts *counts, struct lepton_code *code)
{
    uint8_t sorted[SYMBOLS];
    unsigned count = sorted_symbols(counts, sorted);
    if (count < 2)
        return 0;
    code_lengths(counts, sorted, count, code->bits);
    code->tree_size = describe(code->bits, code_values(code->bits, code->value), code->tree);
    return code->tree_size != 0;
}

size_t lepton_coded_bits(const struct lepton_counts *counts, const struct lepton_code *code)
{
    size_t bits = 0, missing = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        bits += (size_t)counts->of[s] * code->bits[s];
        missing += counts->of[s] && !code->bits[s];
    }
    return missing ? SIZE_MAX : bits;
}

/* The logarithm to base 2 of a whole number above 0, to a thousandth: its highest bit, and a cubic for the rest. */
LEPTON_INLINE float log2_of(uint32_t x)
{
    float near = (float)x;
    uint32_t bits;
    memcpy(&bits, &near, sizeof bits);
    int exponent = (int)(bits >> 23) - 127;
    bits = (bits & 0x7FFFFF) | 127u << 23;
    memcpy(&near, &bits, sizeof near);
    float y = near - 1;
    return (float)exponent + y * (1.4209f + y * (-0.5773f + y * 0.1564f));
}

double lepton_entropy_bits(const struct lepton_counts *counts, size_t n)
{
    float sum = 0;
    for (int s = 0; s < SYMBOLS; s++)
        sum += counts->of[s] ? (float)counts->of[s] * log2_of(counts->of[s]) : 0;
    double bits = (double)n * (double)log2_of((uint32_t)n) - (double)sum;
    return bits > 0 ? bits : 0;
}

/* --- reading a code --- */

/* Undo `put_shares`. Returns the size of the description, or 0. */
static size_t read_shares(const uint8_t *in, size_t length, unsigned *share)
{
    uint64_t word = 0; /* 12 weights take at most 12 * 7 + 2 * 12 bits, of which a window is looked at */
    size_t bit = 0, end = 8 * length;
    unsigned remaining = WEIGHT_STATES + 1, threshold = WEIGHT_STATES, width = WEIGHT_LOG + 1, w = 0;
    memset(share, 0, WEIGHTS * sizeof *share);
#define WINDOW()                                                                                                       \
    (word = 0, memcpy(&word, in + bit / 8, length - bit / 8 < 8 ? length - bit / 8 : 8), (unsigned)(word >> bit % 8))
    if (length < 2 || (WINDOW() & 15) != WEIGHT_LOG - 5)
        return 0;
    for (bit = 4; remaining > 1 && w < WEIGHTS && bit < end;) {
        unsigned most = 2 * threshold - 1 - remaining, low = WINDOW() & (threshold - 1), value;
        if (low < most) {
            value = low;
            bit += width - 1;
        } else {
            value = WINDOW() & (2 * threshold - 1);
            value -= value >= threshold ? most : 0;
            bit += width;
        }
        if (!value || value - 1 > remaining - 1) /* -1 is a share of "less than 1": not ours, and rare */
            return 0;
        remaining -= share[w++] = value - 1;
        if (value == 1) {
            unsigned zeros;
            do {
                if (bit >= end)
                    return 0;
                zeros = WINDOW() & 3;
                bit += 2;
                w += zeros;
            } while (zeros == 3 && w < WEIGHTS);
        }
        while (remaining > 1 && remaining < threshold) {
            width--;
            threshold >>= 1;
        }
    }
#undef WINDOW
    return remaining == 1 && bit <= end ? (bit + 7) / 8 : 0;
}

/* Undo `put_weights`. Returns how many they are, or 0. */
static unsigned read_weights(const uint8_t *in, size_t length, uint8_t *weight)
{
    unsigned share[WEIGHTS], states[2], met[WEIGHTS];
    uint8_t symbol_of[WEIGHT_STATES], width_of[WEIGHT_STATES], next_of[WEIGHT_STATES];
    struct backwards at;
    size_t size = read_shares(in, length, share);
    if (!size || !open_backwards(&at, in + size, length - size))
        return 0;
    spread(share, symbol_of);
    memcpy(met, share, sizeof met);
    for (unsigned state = 0; state < WEIGHT_STATES; state++) {
        unsigned number = met[symbol_of[state]]++, width = WEIGHT_LOG - highest_bit(number);
        width_of[state] = (uint8_t)width;
        next_of[state] = (uint8_t)((number << width) - WEIGHT_STATES);
    }
    if (at.left < 2 * WEIGHT_LOG)
        return 0;
    for (int k = 0; k < 2; k++) {
        states[k] = peek(&at, WEIGHT_LOG);
        at.left -= WEIGHT_LOG;
    }
    for (unsigned count = 0; count < SYMBOLS - 2;) {
        unsigned *state = &states[count & 1], width = width_of[*state];
        weight[count++] = symbol_of[*state];
        if (at.left < width) { /* the other state has the last one */
            weight[count] = symbol_of[states[count & 1]];
            return count + 1;
        }
        *state = next_of[*state] + peek(&at, width);
        at.left -= width;
    }
    return 0;
}

/* The weight of the symbol behind the last, which makes the shares of all codes whole. Returns the longest code, or 0. */
static unsigned complete(uint8_t *weight, unsigned count)
{
    unsigned sum = 0;
    for (unsigned s = 0; s < count; s++)
        sum += weight[s] ? 1u << (weight[s] - 1) : 0;
    if (!sum || sum >= 1u << LONGEST)
        return 0;
    unsigned longest = highest_bit(sum) + 1, rest = (1u << longest) - sum;
    weight[count] = (uint8_t)(highest_bit(rest) + 1);
    return rest & (rest - 1) ? 0 : longest;
}

/* What each window of LONGEST bits begins with: one symbol first, then as many more as its bits determine. */
static void fill_decoder(struct lepton_decoder *decoder, const uint16_t *value)
{
    static const unsigned SHIFT = 16, MOST = 6;
    uint16_t single[1 << LONGEST]; /* symbol, then bits */
    for (unsigned s = 0; s < SYMBOLS; s++) {
        if (!decoder->bits[s])
            continue;
        unsigned first = (unsigned)value[s] << (LONGEST - decoder->bits[s]), count = 1u << (LONGEST - decoder->bits[s]);
        for (unsigned k = 0; k < count; k++)
            single[first + k] = (uint16_t)(s << 8 | decoder->bits[s]);
    }
    for (unsigned window = 0; window < 1u << LONGEST; window++) {
        uint64_t symbols = 0;
        unsigned bits = 0, count = 0;
        do {
            unsigned found = single[window << bits & ((1u << LONGEST) - 1)];
            if (bits + (found & 0xFF) > LONGEST)
                break;
            symbols |= (uint64_t)(found >> 8) << 8 * count++;
            bits += found & 0xFF;
        } while (count < MOST);
        decoder->entries[window] = symbols << SHIFT | count << 8 | bits;
    }
}

size_t lepton_read_tree(const uint8_t *tree, size_t length, struct lepton_decoder *decoder)
{
    uint8_t weight[SYMBOLS] = {0};
    uint16_t value[SYMBOLS];
    unsigned count, size;
    if (!length)
        return 0;
    if (tree[0] < 128) {
        size = tree[0];
        count = size < length ? read_weights(tree + 1, size, weight) : 0;
    } else {
        count = tree[0] - 127u;
        size = (count + 1) / 2;
        for (unsigned k = 0; size < length && k < count; k++)
            weight[k] = k & 1 ? tree[1 + k / 2] & 15 : tree[1 + k / 2] >> 4;
        count = size < length ? count : 0;
    }
    for (unsigned k = 0; k < count; k++)
        if (weight[k] > LONGEST)
            return 0;
    unsigned longest = count ? complete(weight, count) : 0;
    if (!longest)
        return 0;
    for (unsigned s = 0; s < SYMBOLS; s++)
        decoder->bits[s] = (uint8_t)(s <= count && weight[s] ? longest + 1 - weight[s] : 0);
    code_values(decoder->bits, value);
    fill_decoder(decoder, value);
    return 1 + size;
}
