/* The searches for the scale of a few weights, as ggml makes them, each for all lanes.
 *
 * Every candidate for a scale is tried in every lane. A sum is a long chain in which each addition waits for the one
 * before, so two parts of a block are searched at once.
 */
#pragma once

#include "lanes.h"

#define TOO_SMALL 1e-15f /* ggml takes what is below for nothing but zeros */
#ifndef PARTS_AT_ONCE
#define PARTS_AT_ONCE 2
#endif

typedef struct {
    float top; /* the highest level */
    float first, step;
    int tries;
    bool is_absolute; /* errors count by their size, else by their square */
} Ladder;

/* How all are searched where it is known how much each weight matters. */
INLINE Ladder guided(float top) { return (Ladder){.top = top, .first = -0.9f, .step = 0.05f, .tries = 37}; }

typedef struct {
    Floats scale, minimum; /* a weight is about its level times scale, minus minimum */
    Floats factor, base;   /* the levels were the nearest of: weight minus base, times factor */
} Fit;

/* What a search knows of one part. */
typedef struct {
    const Floats *x, *weight;
    Floats low, least, high, sum_w, sum_x, factor, error;
    Mask is_flat;
} Part;

INLINE Part survey(int count, const Floats *x, const Floats *weight) {
    Floats low = x[0], high = x[0], sum_w = weight[0], sum_x = weight[0] * x[0];
    for (int i = 1; i < count; ++i) {
        low = lower(x[i], low);
        high = higher(x[i], high);
        sum_w += weight[i];
        sum_x += weight[i] * x[i];
    }
    const Floats base = lower(floats(0), low);
    return (Part){
        .x = x, .weight = weight, .low = base, .least = low, .high = high, .sum_w = sum_w, .sum_x = sum_x,
        .is_flat = opposite(differ(high, base)),
    };
}

/* By what weights above `low` become levels, of which `steps` lie in the range. */
INLINE Floats factor_of(const Part *part, Floats steps) {
    return choose(part->is_flat, floats(0), steps / (part->high - part->low));
}

/* Do all values to be rounded lie in ±2^21? They nearly always do; what overflowed does not. */
INLINE bool is_tame(const Part *part) {
    const Floats spread = higher(magnitude(part->high - part->low), magnitude(part->least - part->low));
    return !any(opposite(less(magnitude(part->factor) * spread, floats(2097152.0f))));
}

INLINE Floats level_of(Floats value, float top, bool tame) {
    return tame ? nearest_within(value, 0, top) : to_floats(between(nearest(value), 0, (int)top));
}

typedef struct {
    Floats l, l2, xl;
} Sums;

INLINE void assign(int count, int parts, float top, bool tame, const Part *part, Floats *level, Sums *sum) {
    for (int k = 0; k < parts; ++k) sum[k] = (Sums){floats(0), floats(0), floats(0)};
    for (int i = 0; i < count; ++i)
        for (int k = 0; k < parts; ++k) {
            const Floats x = part[k].x[i], l = level_of(part[k].factor * (x - part[k].low), top, tame);
            const Floats wl = part[k].weight[i] * l;
            level[i * parts + k] = l;
            sum[k].l += wl;
            sum[k].l2 += wl * l;
            sum[k].xl += wl * x;
        }
}

INLINE void errors(int count, int parts, bool is_absolute, const Part *part, const Floats *level, const Floats *scale,
                   const Floats *low, Floats *error) {
    for (int k = 0; k < parts; ++k) error[k] = floats(0);
    for (int i = 0; i < count; ++i)
        for (int k = 0; k < parts; ++k) {
            const Floats off = scale[k] * level[i * parts + k] + low[k] - part[k].x[i];
            error[k] += part[k].weight[i] * (is_absolute ? magnitude(off) : off * off);
        }
}

/* Best scale and minimum of `parts` runs of `count` weights. */
INLINE void ladder(int count, int parts, Ladder how, const Floats *x, const Floats *weight, Fit *fit) {
    Part part[PARTS_AT_ONCE];
    Floats level[32 * PARTS_AT_ONCE], scale[PARTS_AT_ONCE], low[PARTS_AT_ONCE], error[PARTS_AT_ONCE];
    Sums sum[PARTS_AT_ONCE];
    for (int k = 0; k < parts; ++k) {
        part[k] = survey(count, x + k * count, weight + k * count);
        fit[k] = (Fit){};
    }
    for (int try = -1; try < how.tries; ++try) {
        const float steps = try < 0 ? how.top : how.first + how.step * (float)try + how.top;
        bool tame = true;
        for (int k = 0; k < parts; ++k) {
            part[k].factor = factor_of(part + k, floats(steps));
            tame &= is_tame(part + k);
        }
        if (tame)
            assign(count, parts, how.top, true, part, level, sum);
        else
            assign(count, parts, how.top, false, part, level, sum);
        Mask is_usable[PARTS_AT_ONCE];
        for (int k = 0; k < parts; ++k) {
            const Floats l = sum[k].l, l2 = sum[k].l2, xl = sum[k].xl, sum_w = part[k].sum_w, sum_x = part[k].sum_x;
            const Floats whole = sum_w * l2 - l * l;
            low[k] = (l2 * sum_x - l * xl) / whole;
            scale[k] = (sum_w * xl - sum_x * l) / whole;
            const Mask is_above = less(floats(0), low[k]);
            low[k] = choose(is_above, floats(0), low[k]);
            if (any(is_above)) scale[k] = choose(is_above, xl / l2, scale[k]);
            is_usable[k] = less(floats(0), whole);
            if (try < 0) { /* the first one is taken as it is */
                low[k] = part[k].low;
                scale[k] = 1.0f / part[k].factor;
            }
        }
        errors(count, parts, how.is_absolute, part, level, scale, low, error);
        for (int k = 0; k < parts; ++k) {
            const Mask is_better =
                try < 0 ? opposite(part[k].is_flat) : both(is_usable[k], less(error[k], part[k].error));
            part[k].error = choose(is_better, error[k], part[k].error);
            fit[k].scale = choose(is_better, scale[k], fit[k].scale);
            fit[k].factor = choose(is_better, part[k].factor, fit[k].factor);
            fit[k].base = choose(is_better, part[k].low, fit[k].base);
            part[k].low = choose(is_better, low[k], part[k].low);
        }
    }
    for (int k = 0; k < parts; ++k) {
        fit[k].scale = choose(part[k].is_flat, floats(0), fit[k].scale);
        fit[k].factor = choose(part[k].is_flat, floats(0), fit[k].factor);
        fit[k].minimum = -part[k].low;
    }
}

/* The level of a weight by this fit. */
INLINE Ints ladder_level(Floats x, Fit fit, int top) { return between(nearest(fit.factor * (x - fit.base)), 0, top); }

/* Is the nearest whole number of a quotient also that of this product, which may be off by a few units in its last
 * place? It is where the product is small and not about halfway between two. A product is much faster. */
INLINE Mask is_clear(Floats product, float doubt) {
    const Floats rest = magnitude(product - (product + ROUNDER - ROUNDER));
    return both(less(rest, floats(0.5f - doubt)), less(magnitude(product), floats(64)));
}

/* The levels nearest to the quotients of weight plus minimum and scale; where the scale is zero, anything. */
INLINE void quotients(int count, const Floats *x, Floats minimum, Floats scale, int bottom, int top, Ints *level) {
    const Floats inverse = 1.0f / scale;
    Mask is_sure = opposite(differ(floats(0), floats(0)));
    for (int i = 0; i < count; ++i) {
        const Floats product = (x[i] + minimum) * inverse;
        is_sure = both(is_sure, is_clear(product, 2e-5f));
        level[i] = between(nearest(product), bottom, top);
    }
    if (any(both(opposite(is_sure), differ(scale, floats(0)))))
        for (int i = 0; i < count; ++i) level[i] = between(nearest((x[i] + minimum) / scale), bottom, top);
}

INLINE Floats sum_of_squares(int count, const Floats *x) {
    Floats sum = floats(0);
    for (int i = 0; i < count; ++i) sum += x[i] * x[i];
    return sum;
}

INLINE Floats sum_of(int count, const Floats *x) {
    Floats sum = floats(0);
    for (int i = 0; i < count; ++i) sum += x[i];
    return sum;
}
