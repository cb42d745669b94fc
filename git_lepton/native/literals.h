/* zstd frames of literals only (RFC 8878, 3.1.1): what Huffman coding alone makes of a plane. */

#ifndef LEPTON_LITERALS_H
#define LEPTON_LITERALS_H

#include "huffman.h"

/* Write a frame of `n` bytes. Returns its size, or 0 if that would be over `most`; no byte behind that is touched. */
size_t lepton_write_literals(const uint8_t *data, size_t n, size_t most, uint8_t *out);

/* Read a frame of exactly `n` bytes. Returns 0 for what is not such a frame, whether it is one of zstd's or not. */
int lepton_read_literals(const uint8_t *frame, size_t length, uint8_t *out, size_t n);

#endif
