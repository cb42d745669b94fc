/* The sums over two tensors that compare/tally.py defines, in one pass over memory. Elements become doubles a block at a
 * time, in memory of the nearest cache, where several passes cost little: each block has its sums around its own mean,
 * so that nothing cancels. What is added up goes to `LANES` sums in turn, whatever the processor's vectors hold, so that
 * every machine gives the same bits. */

#include "elements.h"

enum { BLOCK = 1024, LANES = 16 };

#define IN_LANES(n)                                                                                                    \
    for (size_t i = 0; i < (n); i += LANES)                                                                            \
        for (size_t k = 0; k < LANES; k++)

/* Of the finite values of one side; `squares` are those of the distances from `mean`. */
struct spread {
    double count, mean, squares, zeros, nans, infinities;
};

struct sums {
    double changed, difference, before, after, product, largest;
    struct spread sides[2];
};

struct lanes {
    double difference[LANES], product[LANES], largest[LANES];
};

LEPTON_INLINE double folded(const double *lanes)
{
    double sum = 0;
    for (size_t k = 0; k < LANES; k++)
        sum += lanes[k];
    return sum;
}

LEPTON_INLINE int is_finite(double x)
{
    return __builtin_fabs(x) <= __DBL_MAX__;
}

/* Whatever follows the `n` values up to a whole number of lanes. */
LEPTON_INLINE void pad(double *x, size_t n, double value)
{
    for (; n % LANES; n++)
        x[n] = value;
}

/* Sum of `n` values and zeros behind them. */
LEPTON_INLINE double total_of(const double *restrict x, size_t n)
{
    double total[LANES] = {0};
    IN_LANES(n)
    total[k] += x[i + k];
    return folded(total);
}

LEPTON_INLINE double energy_of(const double *restrict x, size_t n)
{
    double energy[LANES] = {0};
    IN_LANES(n)
    energy[k] += x[i + k] * x[i + k];
    return folded(energy);
}

/* Moments of `n` finite values whose sum is `total`; zeros follow them. */
LEPTON_INLINE struct spread spread_of(double *restrict x, size_t n, double total)
{
    struct spread found = {.count = (double)n};
    double squares[LANES] = {0}, zeros[LANES] = {0}, mean = total / (double)n;
    if (!n)
        return found;
    IN_LANES(n)
    zeros[k] += x[i + k] == 0 ? 1.0 : 0.0;
    found.zeros = folded(zeros) - (double)(-n % LANES);
    pad(x, n, mean);
    IN_LANES(n)
    {
        double apart = x[i + k] - mean;
        squares[k] += apart * apart;
    }
    pad(x, n, 0);
    found.mean = mean, found.squares = folded(squares);
    return found;
}

/* Chan, Golub and LeVeque 1979. */
LEPTON_INLINE void merge(struct spread *sum, struct spread other)
{
    double count = sum->count + other.count, part = count ? other.count / count : 0, apart = other.mean - sum->mean;
    if (other.count) {
        sum->squares += other.squares + apart * apart * (sum->count * part);
        sum->mean += apart * part;
    }
    sum->count = count;
    sum->zeros += other.zeros, sum->nans += other.nans, sum->infinities += other.infinities;
}

/* Moments of values of which not all are finite. */
static struct spread spread_of_finite(const double *x, size_t n)
{
    double held[BLOCK], nans = 0, infinities = 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_finite(x[i]))
            held[count++] = x[i];
        else if (x[i] != x[i])
            nans++;
        else
            infinities++;
    }
    pad(held, count, 0);
    struct spread found = spread_of(held, count, total_of(held, count));
    found.nans = nans, found.infinities = infinities;
    return found;
}

/* How many elements have other bits; a count of as few bits as it needs makes whole vectors of it. */
#define APART(name, type, number)                                                                                      \
    LEPTON_INLINE number name(const type *restrict a, const type *restrict b, size_t n)                                \
    {                                                                                                                  \
        number count = 0;                                                                                              \
        for (size_t i = 0; i < n; i++)                                                                                 \
            count += a[i] != b[i];                                                                                     \
        return count;                                                                                                  \
    }

APART(bytes_apart, uint8_t, uint16_t)
APART(halves_apart, u16, uint16_t)
APART(words_apart, u32, uint32_t)
APART(longs_apart, u64, uint64_t)

/* How many have other values, NaN being equal to NaN. */
LEPTON_INLINE size_t values_apart(const double *restrict x, const double *restrict y, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (x[i] != y[i]) & !((x[i] != x[i]) & (y[i] != y[i]));
    return count;
}

LEPTON_INLINE size_t codes_apart(unsigned kind, const void *before, const void *after, size_t at, size_t n)
{
    switch (width_of(kind)) {
    case 1:
        return bytes_apart((const uint8_t *)before + at, (const uint8_t *)after + at, n);
    case 2:
        return halves_apart((const u16 *)before + at, (const u16 *)after + at, n);
    case 4:
        return words_apart((const u32 *)before + at, (const u32 *)after + at, n);
    default:
        return longs_apart((const u64 *)before + at, (const u64 *)after + at, n);
    }
}

LEPTON_INLINE void add_pairs(const double *restrict x, const double *restrict y, size_t n, struct lanes *lanes)
{
    IN_LANES(n)
    {
        double apart = y[i + k] - x[i + k], size = __builtin_fabs(apart);
        lanes->difference[k] += apart * apart;
        lanes->product[k] += x[i + k] * y[i + k];
        lanes->largest[k] = size > lanes->largest[k] ? size : lanes->largest[k];
    }
}

/* Add to `found` the sums over one block. Where either value is not finite, both are zero afterwards. */
LEPTON_INLINE void add_block(double *restrict x, double *restrict y, size_t n, struct lanes *lanes, struct sums *found)
{
    pad(x, n, 0), pad(y, n, 0);
    double totals[2] = {total_of(x, n), total_of(y, n)};
    if (is_finite(totals[0]) && is_finite(totals[1])) {
        struct spread before = spread_of(x, n, totals[0]), after = spread_of(y, n, totals[1]);
        found->before += before.squares + before.count * before.mean * before.mean;
        found->after += after.squares + after.count * after.mean * after.mean;
        merge(&found->sides[0], before), merge(&found->sides[1], after);
    } else {
        merge(&found->sides[0], spread_of_finite(x, n)), merge(&found->sides[1], spread_of_finite(y, n));
        for (size_t i = 0; i < n; i++)
            if (!is_finite(x[i]) || !is_finite(y[i]))
                x[i] = y[i] = 0;
        found->before += energy_of(x, n), found->after += energy_of(y, n);
    }
    add_pairs(x, y, n, lanes);
}

/* All sums of `count` elements, and after - before into `change` unless that is NULL: 0 where either is not finite.
 * `alike`: both sides are read in the same way, so that their bits tell whether an element changed. */
LEPTON_API LEPTON_CLONES void lepton_tally(const struct reading *readings, int alike, const void *before,
                                           const void *after, size_t count, float *restrict change, struct sums *sums)
{
    double x[BLOCK], y[BLOCK];
    struct lanes lanes = {{0}, {0}, {0}};
    struct sums found = {.changed = 0};
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < BLOCK ? count - at : BLOCK;
        read_elements(readings[0], before, at, n, x), read_elements(readings[1], after, at, n, y);
        found.changed += (double)(alike ? codes_apart(readings->kind, before, after, at, n) : values_apart(x, y, n));
        add_block(x, y, n, &lanes, &found);
        for (size_t i = 0; change && i < n; i++)
            change[at + i] = (float)(y[i] - x[i]);
    }
    found.difference = folded(lanes.difference), found.product = folded(lanes.product);
    for (size_t k = 0; k < LANES; k++)
        found.largest = lanes.largest[k] > found.largest ? lanes.largest[k] : found.largest;
    *sums = found;
}
