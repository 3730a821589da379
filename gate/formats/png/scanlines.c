/* Turn the scan lines of a PNG into the model's pixels: unfilter and average in one cache-friendly pass.
 *
 * libpng unfilters one row after the other. The Paeth filter, which encoders choose for nearly every row of a
 * photograph, is a serial chain: each pixel depends on the one on its left. A row, however, depends only on pixels up
 * to two ahead in the row above, so four rows are unfiltered in parallel lanes, each two pixels behind the one above.
 * Rows are dropped as soon as they are averaged; only the mean of each output pixel's area is stored.
 *
 * Without SSE2 or NEON (lanes.h), one row is unfiltered after the other.
 *
 * All lengths are checked before the first read. Rows are copied between margins that are as wide as the largest
 * out-of-row access of the four lanes, so the loops need no special cases at row ends.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lanes.h"

/* Without -mavx this file contains no AVX code, but the machine may have AVX and callers may have used it. */
#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__) && !defined(__AVX__)
#include <immintrin.h>
#define LEAVES_AVX 1
#else
#define LEAVES_AVX 0
#endif

enum { DONE = 0, BAD_FILTER = 1, BAD_CALL = 2, NO_MEMORY = 3 };
enum { NONE, SUB, UP, AVERAGE, PAETH };

enum {
    LANES = 4,
    LAG = 2,                      /* Pixels by which a lane trails the one above. */
    DRAIN = LAG * (LANES - 1),    /* Steps from the end of the first row to the end of the last. */
    MARGIN = 32,                  /* At least DRAIN pixels of 4 bytes plus one access. */
    MOST_ROWS_IN_16_BITS = 257,   /* 257 * 255 = 65535 */
    LARGEST_EDGE = 1 << 16,       /* Sums of this many 16-bit columns fit 32 bits. */
};

typedef struct {
    size_t channels;
    size_t row_bytes;
    uint8_t *filtered[LANES];
    uint8_t *rows[LANES + 1];     /* The row above, then the rows of the lanes. */
    uint8_t filters[LANES];
} Group;

typedef struct {
    size_t size;
    size_t tall, wide;            /* Source pixels that an output pixel covers. */
    uint16_t *columns;            /* Column sums of RGB, over at most 257 rows. */
    uint64_t *totals;             /* Area sums. */
    uint8_t *means;
} Shrinking;

#if LANE_VECTORS

/* Mask of bytes with 2 * a <= b, computed in 8 bits as a <= b - a. */
static inline Bytes at_most_half(Bytes a, Bytes b) { return at_most(a, excess(b, a)); }

/* Return `residue` plus the one of left, up and corner that is nearest to left + up - corner. With low = min(left, up)
 * and high = max(left, up), low is nearest if 2 * (high - corner) <= corner - low, and high if the mirrored inequality
 * holds; both hold only if all three are equal. This has fewer dependent steps than the three distances of the
 * standard, and fits 8 bits. */
static inline Bytes undo_paeth(Bytes residue, Bytes left, Bytes up, Bytes corner) {
    const Bytes low = lesser(left, up), high = greater(left, up);
    const Bytes below = excess(corner, low), above = excess(high, corner);
    const Bytes fall = both(below, at_most_half(above, below));
    const Bytes rise = both(above, at_most_half(below, above));
    return add(add(residue, corner), subtract(rise, fall));
}

/* Return a mask of the lanes whose filter is in the bit set `filters`. */
static Bytes lanes_of(const Group *group, unsigned filters) {
    uint32_t masks[LANES];
    for (int lane = 0; lane < LANES; lane++)
        masks[lane] = 0 - (filters >> group->filters[lane] & 1);
    return lane_masks(masks);
}

/* Lane 0 unfilters pixel i of its row while lane 3 unfilters pixel i - 6, three rows below. A lane takes its upper pixel
 * from the previous lane's result of two steps ago. Paeth equals Sub if up and corner are 0, Up if left and corner are
 * 0, and None if all three are 0. `mixed` is a compile-time constant because the masks cost 10 % of the time. */
static inline void undo_lanes(Group *group, const size_t channels, const int mixed) {
    const Bytes has_left = lanes_of(group, 1 << SUB | 1 << AVERAGE | 1 << PAETH);
    const Bytes has_up = lanes_of(group, 1 << UP | 1 << AVERAGE | 1 << PAETH);
    const Bytes has_corner = lanes_of(group, 1 << PAETH);
    const Bytes averages = lanes_of(group, 1 << AVERAGE);
    const ptrdiff_t lag = (ptrdiff_t)(LAG * channels);
    const uint8_t *from0 = group->filtered[0], *from1 = group->filtered[1] - lag;
    const uint8_t *from2 = group->filtered[2] - 2 * lag, *from3 = group->filtered[3] - 3 * lag;
    const uint8_t *above = group->rows[0];
    uint8_t *to0 = group->rows[1], *to1 = group->rows[2] - lag;
    uint8_t *to2 = group->rows[3] - 2 * lag, *to3 = group->rows[4] - 3 * lag;
    Bytes left = zeros(), before_left = left, corner = left;
    const size_t end = group->row_bytes + DRAIN * channels;
    for (size_t i = 0; i < end; i += channels) {
        const Bytes residue = load_lanes(from0 + i, from1 + i, from2 + i, from3 + i);
        const Bytes up = push_lane(before_left, above + i);
        Bytes found;
        if (mixed) {
            const Bytes kept_left = both(left, has_left), kept_up = both(up, has_up);
            found = choose(averages, add(residue, half_sum(kept_left, kept_up)),
                           undo_paeth(residue, kept_left, kept_up, both(corner, has_corner)));
        } else {
            found = undo_paeth(residue, left, up, corner);
        }
        store_lanes(to0 + i, to1 + i, to2 + i, to3 + i, found);
        corner = up;
        before_left = left;
        left = found;
    }
}

static void undo_filters(Group *group) {
    int mixed = 0;
    for (int lane = 0; lane < LANES; lane++)
        mixed |= group->filters[lane] != PAETH;
    if (group->channels == 3) {
        if (mixed) undo_lanes(group, 3, 1); else undo_lanes(group, 3, 0);
    } else {
        if (mixed) undo_lanes(group, 4, 1); else undo_lanes(group, 4, 0);
    }
}

#else

/* The same without a branch, which would be mispredicted at every other pixel. */
static inline int nearest(int left, int up, int corner) {
    const int low = left < up ? left : up, high = left < up ? up : left;
    const int turn = 3 * corner - left - up;
    return corner + ((low - corner) & -(high <= turn)) + ((high - corner) & -(turn <= low));
}

/* Neighbours are kept in registers: through memory, each pixel would wait for the store of its left neighbour. */
static inline void undo_paeth(uint8_t *row, const uint8_t *from, const uint8_t *up, size_t bytes,
                              const size_t channels) {
    int left[4] = {0}, corner[4] = {0};
    for (size_t i = 0; i < bytes; i += channels)
        for (size_t c = 0; c < channels; c++) {
            left[c] = (uint8_t)(from[i + c] + nearest(left[c], up[i + c], corner[c]));
            corner[c] = up[i + c];
            row[i + c] = (uint8_t)left[c];
        }
}

/* The pixel left of the row is in the margin, which is 0. */
static void undo_row(uint8_t *row, const uint8_t *from, const uint8_t *up, int filter, size_t bytes, size_t channels) {
    const uint8_t *left = row - channels;
    switch (filter) {
    case NONE: memcpy(row, from, bytes); break;
    case SUB: for (size_t i = 0; i < bytes; i++) row[i] = (uint8_t)(from[i] + left[i]); break;
    case UP: for (size_t i = 0; i < bytes; i++) row[i] = (uint8_t)(from[i] + up[i]); break;
    case AVERAGE: for (size_t i = 0; i < bytes; i++) row[i] = (uint8_t)(from[i] + (left[i] + up[i]) / 2); break;
    default: if (channels == 3) undo_paeth(row, from, up, bytes, 3); else undo_paeth(row, from, up, bytes, 4);
    }
}

static void undo_filters(Group *group) {
    for (int lane = 0; lane < LANES; lane++)
        undo_row(group->rows[lane + 1], group->filtered[lane], group->rows[lane], group->filters[lane],
                 group->row_bytes, group->channels);
}

#endif

/* Copy up to LANES lines between the margins. Unused lanes keep old bytes; their results are discarded. */
static int take_lines(Group *group, const uint8_t *lines, size_t count) {
    for (size_t lane = 0; lane < LANES; lane++) {
        group->filters[lane] = NONE;
        if (lane >= count)
            continue;
        const uint8_t *line = lines + lane * (1 + group->row_bytes);
        if (line[0] > PAETH)
            return BAD_FILTER;
        group->filters[lane] = line[0];
        memcpy(group->filtered[lane], line + 1, group->row_bytes);
    }
    return DONE;
}

/* Return round(level * alpha / 255), like the Pillow path: (n + 127) / 255, exact for all products of two bytes. */
static inline uint16_t over_black(unsigned level, unsigned alpha) {
    const unsigned n = level * alpha + 127;
    return (uint16_t)((n + 1 + (n >> 8)) >> 8);
}

static void add_row(Shrinking *to, const uint8_t *row, size_t row_bytes, size_t channels) {
    uint16_t *restrict columns = to->columns;
    if (channels == 3) {
        for (size_t i = 0; i < row_bytes; i++)
            columns[i] = (uint16_t)(columns[i] + row[i]);
        return;
    }
    for (size_t pixel = 0; pixel < row_bytes / 4; pixel++)
        for (size_t colour = 0; colour < 3; colour++) {
            const uint16_t level = over_black(row[4 * pixel + colour], row[4 * pixel + 3]);
            columns[3 * pixel + colour] = (uint16_t)(columns[3 * pixel + colour] + level);
        }
}

static void fold_columns(Shrinking *to) {
    const uint16_t *column = to->columns;
    for (size_t x = 0; x < to->size; x++) {
        uint32_t red = 0, green = 0, blue = 0;
        for (size_t i = 0; i < to->wide; i++, column += 3) {
            red += column[0];
            green += column[1];
            blue += column[2];
        }
        to->totals[3 * x] += red;
        to->totals[3 * x + 1] += green;
        to->totals[3 * x + 2] += blue;
    }
    memset(to->columns, 0, 3 * to->size * to->wide * sizeof *to->columns);
}

static void write_means(Shrinking *to) {
    const uint64_t area = (uint64_t)to->tall * to->wide;
    for (size_t i = 0; i < 3 * to->size; i++)
        *to->means++ = (uint8_t)((to->totals[i] + area / 2) / area);
    memset(to->totals, 0, 3 * to->size * sizeof *to->totals);
}

static int shrink_lines(Group *group, Shrinking *to, const uint8_t *lines) {
    const size_t height = to->size * to->tall;
    size_t in_area = 0, in_columns = 0;
    for (size_t y = 0; y < height; y += LANES) {
        const size_t count = height - y < LANES ? height - y : LANES;
        if (take_lines(group, lines + y * (1 + group->row_bytes), count) != DONE)
            return BAD_FILTER;
        undo_filters(group);
        for (size_t lane = 0; lane < count; lane++) {
            add_row(to, group->rows[lane + 1], group->row_bytes, group->channels);
            in_area++;
            if (++in_columns == MOST_ROWS_IN_16_BITS || in_area == to->tall) {
                fold_columns(to);
                in_columns = 0;
            }
            if (in_area == to->tall) {
                write_means(to);
                in_area = 0;
            }
        }
        uint8_t *last = group->rows[LANES];
        group->rows[LANES] = group->rows[0];
        group->rows[0] = last;
    }
    return DONE;
}

static int is_sound(size_t length, size_t width, size_t height, size_t channels, size_t size, size_t room) {
    if (width < 1 || height < 1 || size < 1 || width > LARGEST_EDGE || height > LARGEST_EDGE)
        return 0;
    if (width % size || height % size || (channels != 3 && channels != 4))
        return 0;
    return length == (uint64_t)height * (1 + (uint64_t)width * channels) && room == (uint64_t)size * size * 3;
}

#if LEAVES_AVX
__attribute__((target("avx"))) static void clear_upper_halves(void) { _mm256_zeroupper(); }
#endif

/* SSE code after AVX code that left the upper register halves dirty is slowed down by a state transition or by false
 * dependencies on every instruction. Earlier code of this thread may have done so. */
static void leave_avx(void) {
#if LEAVES_AVX
    if (__builtin_cpu_supports("avx"))
        clear_upper_halves();
#endif
}

/* Unfilter `length` bytes of 8-bit scan lines with 3 (RGB) or 4 (RGBA) channels, and write size x size RGB means, with
 * alpha over black, to `means`, a buffer of `room` bytes. Return DONE or an error code. */
__attribute__((visibility("default")))
int lensgate_shrink(const uint8_t *lines, size_t length, size_t width, size_t height, size_t channels, size_t size,
                    uint8_t *means, size_t room) {
    if (!is_sound(length, width, height, channels, size, room))
        return BAD_CALL;
    leave_avx();
    Group group = {.channels = channels, .row_bytes = width * channels};
    Shrinking to = {.size = size, .tall = height / size, .wide = width / size, .means = means};
    const size_t pitch = (group.row_bytes + 2 * MARGIN + 15) / 16 * 16;
    to.totals = calloc(3 * size, sizeof *to.totals);
    to.columns = calloc(3 * width, sizeof *to.columns);
    uint8_t *bytes = calloc(2 * LANES + 1, pitch);
    int result = NO_MEMORY;
    if (to.totals && to.columns && bytes) {
        for (int i = 0; i < LANES; i++)
            group.filtered[i] = bytes + i * pitch + MARGIN;
        for (int i = 0; i <= LANES; i++)
            group.rows[i] = bytes + (LANES + i) * pitch + MARGIN;
        result = shrink_lines(&group, &to, lines);
    }
    free(bytes);
    free(to.columns);
    free(to.totals);
    return result;
}
