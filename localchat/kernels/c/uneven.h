/* IQ4_NL and IQ4_XS: levels that lie the closer to each other the nearer they are to zero. */
#pragma once

#include "around_zero.h"
#include "blocks.h"
#include "simple.h"

/* The value of each level, and what lies halfway between neighbors, as a search by halving asks for it. Near such a
 * middle all differences are exact, so to compare with it is to compare the distances. */
static const float VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
#define MIDDLE -4.5f
#define LOWER_MIDDLE -57.0f
#define UPPER_MIDDLE 45.5f
static const float QUARTERS[8] = {-93.5f, -28.5f, 19.0f, 79.0f, -93.5f, -28.5f, 19.0f, 79.0f};
static const float EIGHTHS[8] = {-115.5f, -74.0f, -42.0f, -16.0f, 7.0f, 31.5f, 61.0f, 101.0f};

INLINE Ints one_unless_less(Floats a, Floats b) { return choose_ints(less(a, b), ints(0), ints(1)); }

/* The level whose value is nearest, the higher one of two. What is no number gets the highest. */
INLINE Ints uneven_level(Floats value) {
    const Mask is_low = less(value, floats(MIDDLE));
    const Floats second = choose(is_low, floats(LOWER_MIDDLE), floats(UPPER_MIDDLE));
    Ints level = choose_ints(is_low, ints(0), ints(2)) + one_unless_less(value, second);
    level = level + level + one_unless_less(value, look_up_8(QUARTERS, level));
    return level + level + one_unless_less(value, look_up_8(EIGHTHS, level));
}

/* Best scales of `parts` runs of 32 weights. */
INLINE void uneven_scales(int parts, const Floats *x, const Floats *weight, Floats *scale) {
    Floats most[PARTS_AT_ONCE], best[PARTS_AT_ONCE];
    Mask is_zero[PARTS_AT_ONCE];
    for (int k = 0; k < parts; ++k) {
        most[k] = farthest(32, x + 32 * k);
        is_zero[k] = less(magnitude(most[k]), floats(TOO_SMALL));
        scale[k] = best[k] = floats(0);
    }
    for (int try = -8; try <= 7; ++try) {
        Floats factor[PARTS_AT_ONCE], lx[PARTS_AT_ONCE], l2[PARTS_AT_ONCE];
        for (int k = 0; k < parts; ++k) {
            factor[k] = try == -8 ? 1.0f / (-most[k] / VALUES[0]) : ((float)try + VALUES[0]) / most[k];
            lx[k] = l2[k] = floats(0);
        }
        for (int i = 0; i < 32; ++i)
            for (int k = 0; k < parts; ++k) {
                const Floats value = x[32 * k + i], l = look_up_16(VALUES, uneven_level(factor[k] * value));
                const Floats wl = weight[32 * k + i] * l;
                lx[k] += wl * value;
                l2[k] += wl * l;
            }
        for (int k = 0; k < parts; ++k) {
            const Mask is_positive = less(floats(0), l2[k]);
            const Floats here = lx[k] / l2[k];
            if (try == -8) {
                scale[k] = choose(is_positive, here, floats(0));
                best[k] = scale[k] * lx[k];
                continue;
            }
            const Mask is_better = both(is_positive, less(best[k] * l2[k], lx[k] * lx[k]));
            scale[k] = choose(is_better, here, scale[k]);
            best[k] = choose(is_better, here * lx[k], best[k]);
        }
    }
    for (int k = 0; k < parts; ++k) scale[k] = choose(is_zero[k], floats(0), scale[k]);
}

INLINE void uneven_weights(const Blocks *b, int first, int count, Floats energy, bool is_guided, Floats *weight) {
    for (int i = 0; i < count; ++i) {
        const Floats x = b->x[first + i];
        weight[i] = is_guided ? b->guide[first + i] * root(energy + x * x) : x * x;
    }
}

INLINE void iq4_nl_any(Blocks *b, bool is_guided) {
    const Floats energy = sum_of_squares(32, b->x) * (2.0f / 32);
    Floats weight[32], scale;
    Ints level[32];
    uneven_weights(b, 0, 32, energy, is_guided, weight);
    uneven_scales(1, b->x, weight, &scale);
    put_scale(b, 0, scale);
    const Floats factor = inverse(scale);
    for (int i = 0; i < 32; ++i) level[i] = uneven_level(factor * b->x[i]);
    put_nibbles(b, 2, level);
}

static void iq4_nl(Blocks *b) { iq4_nl_any(b, false); }
static void iq4_nl_guided(Blocks *b) { iq4_nl_any(b, true); }

INLINE void iq4_xs_any(Blocks *b, bool is_guided) {
    const Floats energy = sum_of_squares(256, b->x) * (2.0f / 256);
    Floats scale[8];
    for (int j = 0; j < 8; j += PARTS_AT_ONCE) {
        Floats weight[32 * PARTS_AT_ONCE];
        uneven_weights(b, 32 * j, 32 * PARTS_AT_ONCE, energy, is_guided, weight);
        uneven_scales(PARTS_AT_ONCE, b->x + 32 * j, weight, scale + j);
    }
    const Floats step = -farthest(8, scale) / 32.0f, factor = inverse(step);
    put_scale(b, 0, step);
    Ints high = ints(0), low = ints(0);
    for (int j = 0; j < 8; ++j) {
        const Ints steps = between(nearest(factor * scale[j]), -32, 31);
        const Floats inverse_scale = inverse(step * to_floats(steps));
        Ints level[32];
        for (int i = 0; i < 32; ++i) level[i] = uneven_level(inverse_scale * b->x[32 * j + i]);
        put_nibbles(b, 8 + 16 * j, level);
        low |= ((steps + 32) & 15) << (4 * j);
        high |= ((steps + 32) >> 4) << (2 * j);
    }
    put_halves(b, 2, high);
    put_words(b, 4, &low, 1);
}

static void iq4_xs(Blocks *b) { iq4_xs_any(b, false); }
static void iq4_xs_guided(Blocks *b) { iq4_xs_any(b, true); }
