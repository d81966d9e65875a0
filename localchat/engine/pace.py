"""How much of prompts is computed at once: learned from how long the last steps took."""

from __future__ import annotations

from dataclasses import dataclass

# So long a part of a prompt may take where others are being written to, whose text then stands still. Where nobody is,
# as much is read as fits: each part reads all weights again, and 256 tokens twice take 5 % longer than 512 once.
STALL_SECONDS = 0.15
STALL_STEPS = 2.0  # or so many steps of writing, where these take longer: a few tokens at a time are read half as fast
CROWD_LIMIT = 4.0
LEAST_TOKENS = 8
BLOCK_TOKENS = 16
"""Rows that llama.cpp's kernels for repacked weights multiply at once (`ggml_gemm_q4_K_8x8_q8_K` and its like in
ggml-cpu/arch/x86/repack.cpp): a step of 12 takes as long as one of 16, and one of 47 longer than one of 48."""
WEIGHT = 0.3  # of the newest measurement in the average


@dataclass(slots=True)
class ReadingPace:
    """What steps have taken lately."""

    batch: int
    token_seconds: float = 0.0
    """Of one token of a prompt; 0 where nothing was read yet."""
    step_seconds: float = 0.0
    """Of a step that only writes; 0 where there was none yet."""

    def slice_tokens(self, *, are_others_writing: bool, crowd: float = 1.0, beside: int = 0) -> int:
        """How many tokens of prompts to compute in the next step, beside so many that are written.

        The `crowd` is how many wait for a prompt to be read for each that is written to: many may hold up a few longer.
        """
        if not are_others_writing:
            return self.batch - beside
        if not self.token_seconds:
            return min(LEAST_TOKENS, self.batch - beside)
        seconds = max(STALL_SECONDS, STALL_STEPS * self.step_seconds) * min(CROWD_LIMIT, max(1.0, crowd))
        tokens = beside + max(LEAST_TOKENS, int(seconds / self.token_seconds))
        return min(self.batch, -(-tokens // BLOCK_TOKENS) * BLOCK_TOKENS) - beside

    def learn(self, tokens: int, seconds: float) -> None:
        """A step read so many tokens in this time."""
        if tokens >= LEAST_TOKENS:
            self.token_seconds = _mean(self.token_seconds, seconds / tokens)

    def learn_step(self, seconds: float) -> None:
        """A step that only wrote took this time."""
        self.step_seconds = _mean(self.step_seconds, seconds)


def _mean(before: float, newest: float) -> float:
    return (1 - WEIGHT) * before + WEIGHT * newest if before else newest
