/* Objects of a pack that are encoded already: zlib streams of stored blocks (RFC 1951, 3.2.4). */

#include "kernels.h"

enum { BLOCK = 65535, HEAD = 5 };

/* The `count` parts after one another into `out`, with a head before each 65,535 bytes; all blocks but the last are
 * full. `out` has room for the parts and max(1, ceil(size / 65535)) heads. */
LEPTON_API void lepton_store(const uint8_t *const *parts, const size_t *sizes, size_t count, uint8_t *out)
{
    size_t left = 0, room = 0;
    for (size_t k = 0; k < count; k++)
        left += sizes[k];
    if (!left)
        memcpy(out, (const uint8_t[]){1, 0, 0, 0xFF, 0xFF}, HEAD);
    for (size_t k = 0; k < count; k++)
        for (size_t at = 0; at < sizes[k];) {
            if (!room) {
                room = left < BLOCK ? left : BLOCK;
                *out++ = room == left;
                *(u16 *)out = (uint16_t)room, *(u16 *)(out + 2) = (uint16_t)~room;
                out += HEAD - 1;
            }
            size_t taken = sizes[k] - at < room ? sizes[k] - at : room;
            memcpy(out, parts[k] + at, taken);
            out += taken, at += taken, room -= taken, left -= taken;
        }
}
