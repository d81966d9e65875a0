/* How the scales of a block's parts become few bits, and how levels are bettered one by one. */
#pragma once

#include "search.h"

typedef struct {
    Floats lx, l2; /* the weighted sums of level times value and of the squares of the levels */
} Products;

INLINE Products products(int count, const Floats *x, const Floats *weight, const Ints *level) {
    Products sum = {floats(0), floats(0)};
    for (int i = 0; i < count; ++i) {
        const Floats l = to_floats(level[i]);
        sum.lx += weight[i] * x[i] * l;
        sum.l2 += weight[i] * l * l;
    }
    return sum;
}

INLINE Floats scale_of(Products sum) {
    return choose(less(floats(0), sum.l2), sum.lx / sum.l2, floats(0));
}

/* Up to five times, give each value the level that fits the others best, where that betters the whole. Levels are
 * bytes, of which the scales of parts have no sign; the rules for the two differ. */
INLINE void descend(int count, int parts, int bottom, int top, bool has_sign, const Floats *x, const Floats *weight,
                    Ints *level, Products *sum) {
    for (int round = 0; round < 5; ++round) {
        Mask changed = less(floats(0), floats(0));
        for (int i = 0; i < count; ++i)
            for (int k = 0; k < parts; ++k) {
                const int at = k * count + i;
                const Floats w = weight[at], wx = w * x[at], l = to_floats(level[at]);
                Floats lx = sum[k].lx - wx * l, l2 = sum[k].l2 - w * l * l;
                Mask is_better = less(floats(0), lx);
                if (!has_sign) is_better = both(is_better, less(floats(0), l2));
                Ints now = lower_ints(nearest(x[at] * l2 / lx), ints(top));
                if (has_sign) now = higher_ints(now, ints(bottom));
                is_better = both(is_better, ints_differ(now, level[at]));
                const Floats new_l = to_floats(now);
                lx += wx * new_l;
                l2 += w * new_l * new_l;
                if (has_sign) is_better = both(is_better, less(floats(0), l2));
                is_better = both(is_better, less(sum[k].lx * sum[k].lx * l2, lx * lx * sum[k].l2));
                changed = either(changed, is_better);
                level[at] = choose_ints(is_better, has_sign ? now : now & 0xff, level[at]);
                sum[k].lx = choose(is_better, lx, sum[k].lx);
                sum[k].l2 = choose(is_better, l2, sum[k].l2);
            }
        if (!any(changed)) break;
    }
}

/* The values as that many steps up to the greatest, as a byte each; how much a step is. */
INLINE Floats plain_steps(int count, float top, const Floats *value, Ints *level) {
    Floats greatest = floats(0);
    for (int j = 0; j < count; ++j) greatest = higher(value[j], greatest);
    const Floats factor = choose(less(floats(0), greatest), top / greatest, floats(0));
    for (int j = 0; j < count; ++j) level[j] = nearest(factor * value[j]) & 0xff;
    return greatest / top;
}

/* The same where it is known how much each of them matters. */
INLINE Floats guided_steps(int count, int top, const Floats *value, const Floats *weight, Ints *level) {
    Floats greatest = floats(0);
    for (int j = 0; j < count; ++j) greatest = higher(greatest, value[j]);
    const Mask is_zero = less(greatest, floats(TOO_SMALL));
    Floats best = floats(0), factor = floats(0);
    for (int try = -5; try <= 4; ++try) {
        if (try == 0) continue;
        const bool is_first = try == -5;
        const float steps = is_first ? (float)top : 0.1f * (float)try + (float)top;
        const Floats here = steps / greatest, scale = 1.0f / here;
        Floats error = floats(0);
        for (int j = 0; j < count; ++j) {
            const Ints l = nearest(here * value[j]);
            const Floats off = value[j] - scale * to_floats(is_first ? l & 0xff : lower_ints(l, ints(top)));
            error += weight[j] * off * off;
        }
        const Mask is_better = less(error, best);
        best = is_first ? error : choose(is_better, error, best);
        factor = is_first ? here : choose(is_better, here, factor);
    }
    for (int j = 0; j < count; ++j) level[j] = lower_ints(nearest(factor * value[j]), ints(top));
    Products sum = products(count, value, weight, level);
    for (int j = 0; j < count; ++j) level[j] &= 0xff;
    descend(count, 1, 0, top, false, value, weight, level, &sum);
    for (int j = 0; j < count; ++j) level[j] = choose_ints(is_zero, ints(0), level[j]);
    return choose(is_zero, floats(0), scale_of(sum));
}
