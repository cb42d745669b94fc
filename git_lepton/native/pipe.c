/* What git pours into a filter: the content of packet lines (gitprotocol-common(5)), read without their heads, and whether
 * a file goes on like it. */

#define _XOPEN_SOURCE 700 /* pread */
#define _FILE_OFFSET_BITS 64

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

/* Whether `n` bytes of the file, put into `out`, are those of `content`. */
LEPTON_INLINE int goes_on(int file, uint64_t offset, uint8_t *out, const uint8_t *content, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(file, out + done, n - done, (off_t)(offset + done));
        if (got <= 0)
            return 0;
        done += (size_t)got;
    }
    return memcmp(out, content, n) == 0;
}

/* Fill `block`, of `room` bytes, from the file for as long as it goes on like the content: `agreed` tells how far.
 * Content passes through `scratch`, in steps that are still in the cache when they are compared. Returns how many bytes
 * of it came last and are not those of the file, or -errno; 0 when `block` is full or `why` says what else ended it. */
LEPTON_API int64_t lepton_read_twin(int fd, struct lepton_packets *at, uint8_t *scratch, size_t step, int *why, int file,
                                    uint64_t offset, uint8_t *block, size_t room, size_t *agreed)
{
    *agreed = 0;
    *why = FULL;
    while (*agreed < room && *why == FULL) {
        size_t left = room - *agreed;
        int64_t count = lepton_read_content(fd, at, scratch, left < step ? left : step, why);
        if (count < 0 || !goes_on(file, offset + *agreed, block + *agreed, scratch, (size_t)count))
            return count;
        *agreed += (size_t)count;
    }
    return 0;
}
