"""Where one way of searching becomes faster than another: estimates, since none of it has run on a GPU yet."""

from __future__ import annotations

__all__ = ["EXHAUSTIVE_TOKENS_ESTIMATE", "FEWEST_TOKENS_ESTIMATE"]

# up to so many tokens on a device all of them are scored exactly, so that nothing is lost: at 4 bits this is 1.4 GB to
# be read, which memory of a few TB/s gives in less than a millisecond
EXHAUSTIVE_TOKENS_ESTIMATE = 20_000_000
# under this many tokens device="auto" searches on the processor, which is done before a GPU has been told what to do
FEWEST_TOKENS_ESTIMATE = 20_000
