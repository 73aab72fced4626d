"""What one device searches of a commit, from queries to rankings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from colbert_rag.kernels.cuda.launching import ROWS
from colbert_rag.search.candidates import n_candidates
from colbert_rag.search.device.cards import Card
from colbert_rag.search.device.resident import ResidentCodec
from colbert_rag.search.device.stages import (
    Batch,
    Searched,
    best,
    candidates,
    coded,
    coded_scorer,
    plain_scorer,
    scores_of,
    scores_of_all,
)
from colbert_rag.search.searcher import Ranking
from colbert_rag.types import Float32Array, SearchConfig

__all__ = ["Plan", "Share"]

# documents beyond the k asked for, so that those that tie with the last come in the same transfer
_SPARE = 32
_MORE_SPARE = 16
# scores of one pass over the documents; where queries need more they take several passes
_PASS_BYTES = 512 << 20
# a query token's score, table entry and table with a centroid; sums of a block with a document, twice
_CENTROID_BYTES, _DOCUMENT_BYTES = 12, 8


@dataclass(frozen=True, slots=True)
class Plan:
    """How a batch is searched.

    Attributes:
        k: Hits asked for.
        n_candidates: Documents that are scored exactly; None for all.
        spare: Documents beyond ``k`` that are fetched.
    """

    k: int
    n_candidates: int | None
    spare: int = _SPARE

    @classmethod
    def of(cls, k: int, config: SearchConfig, *, is_exhaustive: bool) -> Plan:
        """The plan for a search; ``is_exhaustive`` where all documents can be scored."""
        wanted = n_candidates(k, config)
        return cls(k, None if is_exhaustive or config.exact else wanted)


@dataclass(frozen=True, slots=True)
class Share:
    """Some documents of a commit on one device.

    Attributes:
        card: The device.
        searched: The documents, at least one.
        resident: The codec there; None for plain vectors.
    """

    card: Card
    searched: Searched
    resident: ResidentCodec | None

    def start(self, queries: Sequence[Float32Array], plan: Plan) -> torch.Tensor:
        """Give the device all of its work; it is not waited for.

        Returns:
            ``(2, B, n) int64`` on the device, to be given to :meth:`finish`.
        """
        step = self._queries_per_pass(queries)
        with self.card.active():
            # everything is sent before any kernel begins, since what is sent later might wait for it
            sent = [
                Batch(self.card.put(Batch.laid_out(part)), len(part))
                for part in (queries[first : first + step] for first in range(0, len(queries), step))
            ]
            return torch.cat([self._passed(batch, plan) for batch in sent], dim=1)

    def finish(self, started: torch.Tensor, queries: Sequence[Float32Array], plan: Plan) -> list[Ranking]:
        """Wait for the device and read what it found: one transfer for the batch.

        Where more documents tie with the last than were fetched, that query is asked again for more of them.
        """
        keys, bits = self.card.fetch(started)
        scores = bits.astype(np.int32).view(np.float32)
        is_all = keys.shape[1] == self._scored(plan)
        found = []
        for n, query in enumerate(queries):
            if not is_all and scores[n, plan.k - 1] == scores[n, -1]:
                more = Plan(plan.k, plan.n_candidates, plan.spare * _MORE_SPARE)
                found += self.finish(self.start([query], more), [query], more)
            else:
                found.append(Ranking(keys[n], scores[n]))
        return found

    def _scored(self, plan: Plan) -> int:
        return self.searched.count if plan.n_candidates is None else min(plan.n_candidates, self.searched.count)

    def _queries_per_pass(self, queries: Sequence[Float32Array]) -> int:
        n_rows = len(Batch.laid_out([max(queries, key=len)]))
        n_centroids = 0 if self.resident is None else self.resident.codec.n_centroids
        each = n_rows * n_centroids * _CENTROID_BYTES + n_rows * self.searched.count * _DOCUMENT_BYTES // ROWS
        return max(1, _PASS_BYTES // max(1, each))

    def _passed(self, batch: Batch, plan: Plan) -> torch.Tensor:
        n_kept = min(self._scored(plan), plan.k + plan.spare)
        if self.resident is None:
            return best(self.searched, None, scores_of_all(batch, self.searched, plain_scorer(batch)), n_kept)
        query = coded(batch, self.resident)
        score = coded_scorer(batch, query, self.resident)
        if plan.n_candidates is None or plan.n_candidates >= self.searched.count:
            return best(self.searched, None, scores_of_all(batch, self.searched, score), n_kept)
        chosen = candidates(batch, self.searched, query, plan.n_candidates)
        return best(self.searched, chosen, scores_of(batch, self.searched, chosen, score), n_kept)
