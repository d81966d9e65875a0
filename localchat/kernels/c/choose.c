/* What the library offers: how many lanes this processor has instructions for, and the quantizers for each number. */
#include "quantize.h"

#define OFFERED __attribute__((visibility("default")))

#ifndef FINGERPRINT
#define FINGERPRINT "" /* else of the code that this is built from: see build.py */
#endif

int quantize_4(const Task *task);
int quantize_8(const Task *task);
int quantize_16(const Task *task);

OFFERED const char *kernels_fingerprint(void) { return FINGERPRINT; }

/* Can this processor run the quantizers of so many lanes, and are they here? */
OFFERED int kernels_can(int lanes) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (lanes == 8) return __builtin_cpu_supports("avx2") != 0;
    if (lanes == 16)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return 0;
#else
    return lanes == 4;
#endif
}

OFFERED int kernels_quantize(int lanes, const Task *task) {
#if defined(__x86_64__)
    return lanes == 16 ? quantize_16(task) : lanes == 8 ? quantize_8(task) : NO_KERNEL;
#else
    return lanes == 4 ? quantize_4(task) : NO_KERNEL;
#endif
}
