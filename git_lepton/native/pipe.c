/* What git pours into a filter: the content of packet lines (gitprotocol-common(5)), read without their heads. */

#include "kernels.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HEAD = 4, MOST = 65520 }; /* bytes of a packet's head; LARGE_PACKET_MAX of git */

/* Where the stream stands between calls: bytes due in this packet; of the next head, how many bytes are here, which. */
struct lepton_packets {
    uint32_t left, heads;
    uint8_t head[HEAD];
};

/* Why reading stopped: no room, a flush packet, the end of the pipe, a head that no packet has, a signal. */
enum { FULL, FLUSHED, CLOSED, MALFORMED, INTERRUPTED };

LEPTON_INLINE int digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* The packet's length, or -1. */
LEPTON_INLINE int length_of(const uint8_t *head)
{
    int length = 0;
    for (int i = 0; i < HEAD; i++) {
        int value = digit(head[i]);
        if (value < 0)
            return -1;
        length = length << 4 | value;
    }
    return length == 0 || (length >= HEAD && length <= MOST) ? length : -1;
}

/* Fill `out` with content. One system call a packet: its payload and the next head come together. Returns the bytes, or
 * -errno; `why` is one of the reasons above. A head behind a flush packet is never taken from the pipe. */
LEPTON_API int64_t lepton_read_content(int fd, struct lepton_packets *at, uint8_t *out, size_t room, int *why)
{
    size_t done = 0;
    for (;;) {
        struct iovec into[2];
        int parts = 0;
        size_t wanted = at->left < room - done ? at->left : room - done;
        if (done == room) {
            *why = FULL;
            return (int64_t)done;
        }
        if (wanted)
            into[parts++] = (struct iovec){out + done, wanted};
        if (wanted == at->left)
            into[parts++] = (struct iovec){at->head + at->heads, HEAD - at->heads};
        ssize_t got = readv(fd, into, parts);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got <= 0) {
            *why = got ? INTERRUPTED : CLOSED;
            return (int64_t)done;
        }
        size_t payload = (size_t)got < wanted ? (size_t)got : wanted;
        done += payload;
        at->left -= (uint32_t)payload;
        at->heads += (uint32_t)((size_t)got - payload);
        if (at->heads < HEAD)
            continue;
        int length = length_of(at->head);
        if (length < 0) {
            *why = MALFORMED;
            return (int64_t)done;
        }
        at->heads = 0;
        if (length == 0) {
            *why = FLUSHED;
            return (int64_t)done;
        }
        at->left = (uint32_t)length - HEAD;
    }
}

/* Whether two stretches of memory are equal. */
LEPTON_API int lepton_equal(const void *one, const void *other, size_t n)
{
    return memcmp(one, other, n) == 0;
}
