from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.encoder.windows import Window, cut

SIZES = {"n_tokens": st.integers(0, 500), "room": st.integers(1, 90), "overlap": st.integers(0, 100)}


def context(window: Window, token: int) -> int:
    return min(token - window.start, window.stop - 1 - token)


@settings(deadline=None, max_examples=50)
@given(**SIZES)
def test_every_token_is_owned_exactly_once_and_in_order(n_tokens, room, overlap):
    windows = cut(n_tokens, room, overlap)
    assert [t for w in windows for t in range(w.own_start, w.own_stop)] == list(range(n_tokens))


@settings(deadline=None, max_examples=50)
@given(**SIZES)
def test_owner_is_a_window_in_which_the_token_has_most_context(n_tokens, room, overlap):
    windows = cut(n_tokens, room, overlap)
    for window in windows:
        for token in range(window.own_start, window.own_stop):
            others = [context(other, token) for other in windows if other.start <= token < other.stop]
            assert context(window, token) == max(others)


@settings(deadline=None, max_examples=50)
@given(**SIZES)
def test_windows_stay_in_the_text_fill_the_room_and_share_the_overlap(n_tokens, room, overlap):
    windows = cut(n_tokens, room, overlap)
    assert windows[0].start == 0
    assert windows[-1].stop == n_tokens
    assert all(window.stop - window.start == min(room, n_tokens) for window in windows)
    least = min(overlap, room // 2)
    assert all(left.stop - right.start >= least for left, right in pairwise(windows))


@settings(deadline=None, max_examples=50)
@given(**SIZES)
def test_no_window_more_than_needed_is_made(n_tokens, room, overlap):
    stride = room - min(overlap, room // 2)
    windows = cut(n_tokens, room, overlap)
    assert len(windows) == 1 or (len(windows) - 2) * stride + room < n_tokens
