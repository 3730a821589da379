/* One pixel of each of four rows in a vector of 16 bytes, with SSE2 or NEON.
 *
 * Both halves of this file define the same operations with the same results in every bit. Comparisons return bytes of 0
 * or 255. `LANE_VECTORS` is 0 on other machines, and with LENSGATE_PLAIN.
 */

#include <stdint.h>
#include <string.h>

#if defined(LENSGATE_PLAIN)
#define LANE_VECTORS 0
#elif defined(__SSE2__)
#define LANE_VECTORS 1
#include <emmintrin.h>

typedef __m128i Bytes;

static inline Bytes load4(const uint8_t *from) {
    int32_t bytes;
    memcpy(&bytes, from, sizeof bytes);
    return _mm_cvtsi32_si128(bytes);
}

static inline void store4(uint8_t *to, Bytes bytes) {
    const int32_t low = _mm_cvtsi128_si32(bytes);
    memcpy(to, &low, sizeof low);
}

static inline Bytes load_lanes(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d) {
    return _mm_unpacklo_epi64(_mm_unpacklo_epi32(load4(a), load4(b)), _mm_unpacklo_epi32(load4(c), load4(d)));
}

static inline void store_lanes(uint8_t *a, uint8_t *b, uint8_t *c, uint8_t *d, Bytes lanes) {
    store4(a, lanes);
    store4(b, _mm_srli_si128(lanes, 4));
    store4(c, _mm_srli_si128(lanes, 8));
    store4(d, _mm_srli_si128(lanes, 12));
}

/* Move every lane to the next one, and load the first. */
static inline Bytes push_lane(Bytes lanes, const uint8_t *first) {
    return _mm_or_si128(_mm_slli_si128(lanes, 4), load4(first));
}

static inline Bytes zeros(void) { return _mm_setzero_si128(); }
static inline Bytes lane_masks(const uint32_t *masks) { return _mm_loadu_si128((const __m128i *)masks); }
static inline Bytes both(Bytes a, Bytes b) { return _mm_and_si128(a, b); }
static inline Bytes add(Bytes a, Bytes b) { return _mm_add_epi8(a, b); }
static inline Bytes subtract(Bytes a, Bytes b) { return _mm_sub_epi8(a, b); }
static inline Bytes excess(Bytes a, Bytes b) { return _mm_subs_epu8(a, b); }
static inline Bytes lesser(Bytes a, Bytes b) { return _mm_min_epu8(a, b); }
static inline Bytes greater(Bytes a, Bytes b) { return _mm_max_epu8(a, b); }
static inline Bytes at_most(Bytes a, Bytes b) { return _mm_cmpeq_epi8(_mm_subs_epu8(a, b), _mm_setzero_si128()); }

static inline Bytes half_sum(Bytes a, Bytes b) {
    const Bytes odd = _mm_and_si128(_mm_xor_si128(a, b), _mm_set1_epi8(1));
    return _mm_sub_epi8(_mm_avg_epu8(a, b), odd);
}

static inline Bytes choose(Bytes mask, Bytes yes, Bytes no) {
    return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}

#elif defined(__AARCH64EL__) && defined(__ARM_NEON)
#define LANE_VECTORS 1
#include <arm_neon.h>

typedef uint8x16_t Bytes;

static inline uint32_t load4(const uint8_t *from) {
    uint32_t bytes;
    memcpy(&bytes, from, sizeof bytes);
    return bytes;
}

static inline void store4(uint8_t *to, uint32_t bytes) { memcpy(to, &bytes, sizeof bytes); }

static inline Bytes load_lanes(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d) {
    uint32x4_t lanes = vdupq_n_u32(load4(a));
    lanes = vsetq_lane_u32(load4(b), lanes, 1);
    lanes = vsetq_lane_u32(load4(c), lanes, 2);
    return vreinterpretq_u8_u32(vsetq_lane_u32(load4(d), lanes, 3));
}

static inline void store_lanes(uint8_t *a, uint8_t *b, uint8_t *c, uint8_t *d, Bytes bytes) {
    const uint32x4_t lanes = vreinterpretq_u32_u8(bytes);
    store4(a, vgetq_lane_u32(lanes, 0));
    store4(b, vgetq_lane_u32(lanes, 1));
    store4(c, vgetq_lane_u32(lanes, 2));
    store4(d, vgetq_lane_u32(lanes, 3));
}

/* Move every lane to the next one, and load the first. */
static inline Bytes push_lane(Bytes lanes, const uint8_t *first) {
    return vextq_u8(vreinterpretq_u8_u32(vdupq_n_u32(load4(first))), lanes, 12);
}

static inline Bytes zeros(void) { return vdupq_n_u8(0); }
static inline Bytes lane_masks(const uint32_t *masks) { return vreinterpretq_u8_u32(vld1q_u32(masks)); }
static inline Bytes both(Bytes a, Bytes b) { return vandq_u8(a, b); }
static inline Bytes add(Bytes a, Bytes b) { return vaddq_u8(a, b); }
static inline Bytes subtract(Bytes a, Bytes b) { return vsubq_u8(a, b); }
static inline Bytes excess(Bytes a, Bytes b) { return vqsubq_u8(a, b); }
static inline Bytes lesser(Bytes a, Bytes b) { return vminq_u8(a, b); }
static inline Bytes greater(Bytes a, Bytes b) { return vmaxq_u8(a, b); }
static inline Bytes at_most(Bytes a, Bytes b) { return vcleq_u8(a, b); }
static inline Bytes half_sum(Bytes a, Bytes b) { return vhaddq_u8(a, b); }
static inline Bytes choose(Bytes mask, Bytes yes, Bytes no) { return vbslq_u8(mask, yes, no); }

#else
#define LANE_VECTORS 0
#endif
