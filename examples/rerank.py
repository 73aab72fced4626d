"""Order what another search found: exact late interaction in memory, no index."""

from __future__ import annotations

from colbert_rag import Encoder, Reranker

QUESTION = "What does a plant need to grow?"
FOUND = [
    "The power plant was closed in 2011.",
    "Growth of the company slowed down in spring.",
    "Light, water and minerals let seedlings thrive.",
    "Plants need light, water and air to grow.",
]

for rank, text in enumerate(Reranker(Encoder()).rerank(QUESTION, FOUND, k=3), 1):
    print(f"{rank}  {text.score:5.2f}  found at position {text.position}: {text.text}")
