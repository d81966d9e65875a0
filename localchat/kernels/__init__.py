"""Our own quantizers in C, a block of weights in each SIMD lane, with the bits of ggml's."""
