/* One block of weights in each lane of a vector.
 *
 * A vector holds the same place of LANES blocks, so every lane runs through a block in the order in which plain code
 * does, and comes to the same bits. All arithmetic is that of IEEE 754 in single precision: compile with
 * -ffp-contract=off and never with -ffast-math. Branches become choices between two values.
 *
 * The vector types are those of GCC and Clang. Where a processor has an instruction that the compilers do not find by
 * themselves (minimum, blending, masks), it is named; LANES_PLAIN leaves those out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__) && !defined(LANES_PLAIN)
#include <immintrin.h>
#endif

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef float FloatsAnywhere __attribute__((vector_size(4 * LANES), aligned(1), may_alias));
typedef uint16_t Shorts __attribute__((vector_size(2 * LANES)));
typedef uint16_t ShortsAnywhere __attribute__((vector_size(2 * LANES), aligned(1), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define NOT_INLINE static __attribute__((noinline)) /* compilers keep more in registers in functions of some size */

INLINE Floats floats(float value) { return value - (Floats){}; }
INLINE Ints ints(int32_t value) { return value - (Ints){}; }
INLINE Floats as_floats(Ints bits) { return (Floats)bits; }
INLINE Ints as_ints(Floats values) { return (Ints)values; }
INLINE Floats to_floats(Ints values) { return __builtin_convertvector(values, Floats); }
INLINE Floats magnitude(Floats values) { return as_floats(as_ints(values) & 0x7fffffff); }

#if LANES == 16 && defined(__AVX512F__) && !defined(LANES_PLAIN)

typedef __mmask16 Mask;
INLINE Mask less(Floats a, Floats b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
INLINE Mask differ(Floats a, Floats b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_NEQ_UQ); }
INLINE Mask ints_differ(Ints a, Ints b) { return _mm512_cmpneq_epi32_mask((__m512i)a, (__m512i)b); }
INLINE Mask both(Mask a, Mask b) { return a & b; }
INLINE Mask either(Mask a, Mask b) { return a | b; }
INLINE Mask opposite(Mask a) { return (Mask)~a; }
INLINE bool any(Mask a) { return a != 0; }
INLINE Floats choose(Mask m, Floats a, Floats b) { return (Floats)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a); }
INLINE Ints choose_ints(Mask m, Ints a, Ints b) { return (Ints)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a); }
INLINE Floats lower(Floats a, Floats b) { return (Floats)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE Floats higher(Floats a, Floats b) { return (Floats)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE Ints lower_ints(Ints a, Ints b) { return (Ints)_mm512_min_epi32((__m512i)a, (__m512i)b); }
INLINE Ints higher_ints(Ints a, Ints b) { return (Ints)_mm512_max_epi32((__m512i)a, (__m512i)b); }
INLINE Floats root(Floats a) { return (Floats)_mm512_sqrt_ps((__m512)a); }
INLINE Floats look_up_16(const float *table, Ints place) {
    return (Floats)_mm512_permutexvar_ps((__m512i)place, _mm512_loadu_ps(table));
}
INLINE Floats look_up_8(const float *table, Ints place) {
    return (Floats)_mm512_permutexvar_ps((__m512i)place, _mm512_castps256_ps512(_mm256_loadu_ps(table)));
}

#else

typedef Ints Mask;
INLINE Mask less(Floats a, Floats b) { return a < b; }
INLINE Mask differ(Floats a, Floats b) { return a != b; }
INLINE Mask ints_differ(Ints a, Ints b) { return a != b; }
INLINE Mask both(Mask a, Mask b) { return a & b; }
INLINE Mask either(Mask a, Mask b) { return a | b; }
INLINE Mask opposite(Mask a) { return ~a; }

#if LANES == 8 && defined(__AVX2__) && !defined(LANES_PLAIN)

INLINE bool any(Mask a) { return _mm256_movemask_ps((__m256)a) != 0; }
INLINE Floats choose(Mask m, Floats a, Floats b) {
    return (Floats)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m);
}
INLINE Ints choose_ints(Mask m, Ints a, Ints b) { return as_ints(choose(m, as_floats(a), as_floats(b))); }
INLINE Floats lower(Floats a, Floats b) { return (Floats)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE Floats higher(Floats a, Floats b) { return (Floats)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE Ints lower_ints(Ints a, Ints b) { return (Ints)_mm256_min_epi32((__m256i)a, (__m256i)b); }
INLINE Ints higher_ints(Ints a, Ints b) { return (Ints)_mm256_max_epi32((__m256i)a, (__m256i)b); }
INLINE Floats root(Floats a) { return (Floats)_mm256_sqrt_ps((__m256)a); }
INLINE Floats look_up_8(const float *table, Ints place) {
    return (Floats)_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)place);
}
INLINE Floats look_up_16(const float *table, Ints place) {
    return choose(place << 28, look_up_8(table + 8, place), look_up_8(table, place));
}

#else

INLINE bool any(Mask a) {
    int32_t found = 0;
    for (int lane = 0; lane < LANES; ++lane) found |= a[lane];
    return found != 0;
}
INLINE Ints choose_ints(Mask m, Ints a, Ints b) { return (m & a) | (~m & b); }
INLINE Floats choose(Mask m, Floats a, Floats b) { return as_floats(choose_ints(m, as_ints(a), as_ints(b))); }
INLINE Floats lower(Floats a, Floats b) { return choose(a < b, a, b); }
INLINE Floats higher(Floats a, Floats b) { return choose(a > b, a, b); }
INLINE Ints lower_ints(Ints a, Ints b) { return choose_ints(a < b, a, b); }
INLINE Ints higher_ints(Ints a, Ints b) { return choose_ints(a > b, a, b); }
INLINE Floats root(Floats a) {
    Floats found;
    for (int lane = 0; lane < LANES; ++lane) found[lane] = __builtin_sqrtf(a[lane]);
    return found;
}
INLINE Floats look_up_16(const float *table, Ints place) {
    Floats found;
    for (int lane = 0; lane < LANES; ++lane) found[lane] = table[place[lane]];
    return found;
}
INLINE Floats look_up_8(const float *table, Ints place) { return look_up_16(table, place); }

#endif
#endif

/* `lower` and `higher` give the second value where one is no number or both are zero, as `a < b ? a : b` does. */

INLINE Ints between(Ints values, int32_t low, int32_t high) {
    return higher_ints(ints(low), lower_ints(ints(high), values));
}

/* Adding 1.5 * 2^23 leaves the nearest whole number, ties to even, in the low bits. ggml takes these bits as they are
 * also where the sum is no number or the value lies beyond 2^22, so those give the same here. */
#define ROUNDER 12582912.0f

INLINE Ints nearest(Floats values) { return (as_ints(values + ROUNDER) & 0x7fffff) - 0x400000; }

/* The float of the nearest whole number up to `top`, of values that are known to lie within ±2^22. */
INLINE Floats nearest_up_to(Floats values, float top) {
    return lower(values + ROUNDER, floats(top + ROUNDER)) - ROUNDER;
}
INLINE Floats nearest_within(Floats values, float bottom, float top) {
    return higher(lower(values + ROUNDER, floats(top + ROUNDER)), floats(bottom + ROUNDER)) - ROUNDER;
}

/* What x86 makes of a float without its fraction: beyond 32 bits the lowest number, where others saturate. */
INLINE Ints without_fraction(Floats values) {
    Ints whole = __builtin_convertvector(values, Ints);
#if !defined(__x86_64__) && !defined(__i386__)
    whole = choose_ints(magnitude(values) < 2147483648.0f, whole, ints(INT32_MIN));
#endif
    return whole;
}

/* float16 in the low half of each lane, ties to even; what is too large becomes infinite. */
INLINE Ints halves(Floats values) {
    Ints bits = as_ints(values) & 0x7fffffff;
    Ints normal = (bits - 0x38000000 + 0xfff + ((bits >> 13) & 1)) >> 13;
    Ints small = as_ints(as_floats(bits) + 0.5f) - 0x3f000000; /* 0.5 counts in steps of the least float16 */
    Ints half = choose_ints(less(as_floats(bits), floats(0x1p-14f)), small, lower_ints(normal, ints(0x7c00)));
    half = choose_ints(differ(values, values), ints(0x7e00), half);
    return half | ((as_ints(values) >> 16) & 0x8000);
}

/* Back again; infinite ones give some large number, for they are refused anyway. */
INLINE Floats of_halves(Ints half) {
    Floats size = as_floats((half & 0x7fff) << 13) * 0x1p112f;
    return as_floats(as_ints(size) | ((half & 0x8000) << 16));
}

INLINE bool any_is_infinite(Ints half) { return any(opposite(ints_differ(half & 0x7c00, ints(0x7c00)))); }
