"""Training of late-interaction models, over sentence-transformers' own trainer and losses."""

from colbert_rag.training.pairs import Pair, read_pairs
from colbert_rag.training.record import FinishedRound, Record
from colbert_rag.training.rounds import train
from colbert_rag.training.settings import TrainingSettings

__all__ = ["FinishedRound", "Pair", "Record", "TrainingSettings", "read_pairs", "train"]
