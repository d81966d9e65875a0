/* Blocks of weights, turned so that a vector holds the same place of every block. */
#pragma once

#include "lanes.h"
#include "quantize.h"

INLINE Floats widened(const char *place, enum Source source) {
    if (source == FROM_F32) return *(const FloatsAnywhere *)place;
    const Ints bits = __builtin_convertvector(*(const ShortsAnywhere *)place, Ints);
    if (source == FROM_BF16) return as_floats(bits << 16);
    /* The highest exponent of a float16 means infinite or no number, and has to stay recognizable. */
    const Ints special = choose_ints(ints_differ(bits & 0x7c00, ints(0x7c00)), ints(0), ints(0x7f800000));
    return as_floats(as_ints(of_halves(bits)) | special);
}

#if LANES == 16
#define EACH(OF, width)                                                                                          \
    OF(0, width), OF(1, width), OF(2, width), OF(3, width), OF(4, width), OF(5, width), OF(6, width), OF(7, width), \
        OF(8, width), OF(9, width), OF(10, width), OF(11, width), OF(12, width), OF(13, width), OF(14, width),      \
        OF(15, width)
#elif LANES == 8
#define EACH(OF, width) \
    OF(0, width), OF(1, width), OF(2, width), OF(3, width), OF(4, width), OF(5, width), OF(6, width), OF(7, width)
#elif LANES == 4
#define EACH(OF, width) OF(0, width), OF(1, width), OF(2, width), OF(3, width)
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (Ints){__VA_ARGS__})
#endif

#define FIRST_OF(place, width) ((place) & (width) ? LANES + (place) - (width) : (place))
#define SECOND_OF(place, width) ((place) & (width) ? LANES + (place) : (place) + (width))

/* Exchange one bit of the number of a row with the same bit of the place in it. */
#define TURN(rows, width)                                                                 \
    for (int row = 0; row < LANES; ++row)                                                 \
        if (!(row & (width))) {                                                           \
            const Floats a = rows[row], b = rows[row + (width)];                          \
            rows[row] = SHUFFLE(a, b, EACH(FIRST_OF, width));                             \
            rows[row + (width)] = SHUFFLE(a, b, EACH(SECOND_OF, width));                  \
        }

/* `count` weights from every place on, a multiple of LANES. Tells whether one is not finite. */
INLINE bool load(Floats *out, const char *const *places, int count, enum Source source) {
    Ints found = ints(0);
    for (int first = 0; first < count; first += LANES) {
        Floats rows[LANES];
        for (int lane = 0; lane < LANES; ++lane) {
            rows[lane] = widened(places[lane] + first * size_of(source), source);
            found |= (as_ints(rows[lane]) & 0x7fffffff) + 0x00800000; /* the highest exponent reaches the sign */
        }
        TURN(rows, 1)
        TURN(rows, 2)
#if LANES >= 8
        TURN(rows, 4)
#endif
#if LANES >= 16
        TURN(rows, 8)
#endif
        for (int i = 0; i < LANES; ++i) out[first + i] = rows[i];
    }
    return any(ints_differ(found & INT32_MIN, ints(0)));
}

static bool load_from(int source, Floats *out, const char *const *places, int count) {
    switch (source) {
    case FROM_F16: return load(out, places, count, FROM_F16);
    case FROM_BF16: return load(out, places, count, FROM_BF16);
    default: return load(out, places, count, FROM_F32);
    }
}
