/* Huffman codes as zstd writes them (RFC 8878, 4.2): one table for many stretches of bytes. */

#ifndef LEPTON_HUFFMAN_H
#define LEPTON_HUFFMAN_H

#include "kernels.h"

enum {
    SYMBOLS = 256,
    LONGEST = 11,         /* bits of a code, at most */
    TREE_BYTES = 128,     /* of a table's description, at most */
    STREAMS = 4,          /* a stretch is divided into so many, which are read side by side */
    JUMPS = 6,            /* bytes that tell where the streams begin */
    MOST_CODED = 128 << 10,
    SAMPLE = 16 << 10,    /* bytes that stand for many */
};

/* How often each byte value occurs. */
struct lepton_counts {
    uint32_t of[SYMBOLS];
};

/* A code to write with: `bits[s]` are the lengths, 0 for what does not occur. */
struct lepton_code {
    uint8_t bits[SYMBOLS];
    uint16_t value[SYMBOLS];
    uint8_t tree[TREE_BYTES];
    unsigned tree_size;
};

/* What a window of LONGEST bits begins with: up to six symbols (from bit 16 on), their number (bits 8 to 15), the bits
 * that they take (bits 0 to 7). */
struct lepton_decoder {
    uint64_t entries[1 << LONGEST];
    uint8_t bits[SYMBOLS]; /* of each symbol's code */
};

void lepton_count(const uint8_t *data, size_t n, struct lepton_counts *counts);

/* Fill `sample`, of SAMPLE bytes, with evenly spread pieces. Returns 0 where the bytes are few enough to take all. */
int lepton_gather(const uint8_t *data, size_t n, uint8_t *sample);

/* Counts for a code of these bytes: of a sample where that will do, with one at least for each value that occurs. Returns
 * how many bytes were counted. */
size_t lepton_sample(const uint8_t *data, size_t n, struct lepton_counts *counts);

/* The best code for these counts, of which at least two are not 0. Returns 0 when it cannot be described. */
int lepton_make_code(const struct lepton_counts *counts, struct lepton_code *code);

/* Bits that a stretch with these counts takes, or SIZE_MAX when something in it has no code. */
size_t lepton_coded_bits(const struct lepton_counts *counts, const struct lepton_code *code);

/* Bits that a perfect code would take for `n` bytes of these counts. */
double lepton_entropy_bits(const struct lepton_counts *counts, size_t n);

/* Write at most MOST_CODED bytes as `streams` streams, one, or four behind their jump table. Returns the size, or 0 if
 * that would be over `most`. */
size_t lepton_encode_streams(const struct lepton_code *code, const uint8_t *data, size_t n, unsigned streams, size_t most,
                             uint8_t *out);

/* Read a table's description. Returns its size, or 0 for one that is not understood. */
size_t lepton_read_tree(const uint8_t *tree, size_t length, struct lepton_decoder *decoder);

/* Undo `lepton_encode_streams`: fill `out` with exactly `n` bytes. Returns 0 when these are no such streams. */
int lepton_decode_streams(const struct lepton_decoder *decoder, const uint8_t *data, size_t length, unsigned streams,
                          uint8_t *out, size_t n);

#endif
