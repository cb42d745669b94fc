/* Elements to planes and back, for kernels that go on from there; what they do is told where they are. */

#ifndef LEPTON_PLANES_H
#define LEPTON_PLANES_H

#include "kernels.h"

void lepton_split(const void *x, const void *y, size_t n, unsigned width, int floats, uint8_t *const *planes);
void lepton_join(const uint8_t *const *planes, const void *y, size_t n, unsigned width, int floats, void *out);
int lepton_holds(const uint8_t *const *planes, const void *y, size_t n, unsigned width, int floats, const void *x);
size_t lepton_sparse_split(const uint8_t *plane, size_t n, uint8_t common, uint8_t *bitmap, uint8_t *rest);
size_t lepton_ones(const uint8_t *bitmap, size_t bytes);
void lepton_sparse_join(const uint8_t *bitmap, const uint8_t *rest, uint8_t common, size_t n, uint8_t *plane);

#endif
