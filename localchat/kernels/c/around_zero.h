/* The searches for scales of levels on both sides of zero, of which there is one more below it than above. */
#pragma once

#include "search.h"

typedef struct {
    Floats scale;
    Floats factor; /* the levels were the nearest of: weight times factor */
    Mask is_zero;  /* there was nothing but zeros: then every level is the lowest */
} Even;

NOT_INLINE Floats first_of_farthest(int count, const Floats *x) {
    Floats size = floats(0), found = floats(0);
    for (int i = 0; i < count; ++i) {
        const Mask is_farther = less(size, magnitude(x[i]));
        size = choose(is_farther, magnitude(x[i]), size);
        found = choose(is_farther, x[i], found);
    }
    return found;
}

/* The value that lies farthest from zero, the first of equal ones: the question is open where they differ in sign. */
INLINE Floats farthest(int count, const Floats *x) {
    Floats high = floats(0), low = floats(0);
    for (int i = 0; i < count; ++i) {
        high = higher(x[i], high);
        low = lower(x[i], low);
    }
    const Mask is_open = both(opposite(differ(high, -low)), differ(high, low));
    return any(is_open) ? first_of_farthest(count, x) : choose(less(high, -low), low, high);
}

/* Levels from 0 up for the values by this fit. */
INLINE Ints even_level(Floats x, Even fit, int half) {
    return choose_ints(fit.is_zero, ints(0), between(nearest(fit.factor * x), -half, half - 1) + half);
}

enum Range { ANY, WITHIN, ABOVE }; /* of values to be rounded: anything, a bit too far off, or never below the lowest */

/* The weighted sums of level times value and of the squares of the levels; `wx` are the values times their weights. */
INLINE void even_sums(int count, int parts, int half, enum Range range, const Floats *x, const Floats *wx,
                      const Floats *weight, const Floats *factor, Floats *lx, Floats *l2) {
    const float bottom = (float)-half, top = (float)(half - 1);
    for (int k = 0; k < parts; ++k) lx[k] = l2[k] = floats(0);
    for (int i = 0; i < count; ++i)
        for (int k = 0; k < parts; ++k) {
            const int at = k * count + i;
            const Floats v = factor[k] * x[at];
            const Floats l = range == ABOVE    ? nearest_up_to(v, top)
                             : range == WITHIN ? nearest_within(v, bottom, top)
                                               : to_floats(between(nearest(v), -half, half - 1));
            lx[k] += wx[at] * l;
            l2[k] += weight[at] * l * l;
        }
}

/* Best scales of `parts` runs of `count` values with `half` levels below zero. Where values may be no numbers, as
 * scales may that were found before, they are not `tame`. */
INLINE void around_zero(int count, int parts, int half, bool tame, const Floats *x, const Floats *weight, Even *fit) {
    Floats most[PARTS_AT_ONCE], best[PARTS_AT_ONCE], wx[32 * PARTS_AT_ONCE];
    for (int i = 0; i < parts * count; ++i) wx[i] = weight[i] * x[i];
    for (int k = 0; k < parts; ++k) {
        most[k] = farthest(count, x + k * count);
        fit[k] = (Even){.is_zero = less(magnitude(most[k]), floats(TOO_SMALL))};
        best[k] = floats(0);
    }
    for (int try = -10; try <= 9; ++try) {
        if (try == 0) continue;
        const bool is_first = try == -10;
        Floats factor[PARTS_AT_ONCE], lx[PARTS_AT_ONCE], l2[PARTS_AT_ONCE];
        for (int k = 0; k < parts; ++k) {
            const float steps = is_first ? (float)-half : -((float)half + 0.1f * (float)try);
            factor[k] = choose(fit[k].is_zero, floats(0), floats(steps) / most[k]);
        }
        if (!tame)
            even_sums(count, parts, half, ANY, x, wx, weight, factor, lx, l2);
        else if (try <= 4) /* the value farthest off becomes at most 0.4 more than the lowest level */
            even_sums(count, parts, half, ABOVE, x, wx, weight, factor, lx, l2);
        else
            even_sums(count, parts, half, WITHIN, x, wx, weight, factor, lx, l2);
        for (int k = 0; k < parts; ++k) {
            const Floats scale = choose(differ(l2[k], floats(0)), lx[k] / l2[k], floats(0));
            if (is_first) {
                fit[k].scale = scale;
                fit[k].factor = factor[k];
                best[k] = scale * lx[k];
                continue;
            }
            const Mask is_better = both(less(floats(0), l2[k]), less(best[k] * l2[k], lx[k] * lx[k]));
            fit[k].scale = choose(is_better, scale, fit[k].scale);
            fit[k].factor = choose(is_better, factor[k], fit[k].factor);
            best[k] = choose(is_better, scale * lx[k], best[k]);
        }
    }
    for (int k = 0; k < parts; ++k) fit[k].scale = choose(fit[k].is_zero, floats(0), fit[k].scale);
}
