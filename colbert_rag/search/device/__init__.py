"""Search on GPUs: segments that stay in their memory, and batches of queries that never wait for the host.

Importing it costs nothing: torch and Triton are imported when a device is used.
"""

from colbert_rag.search.device.choosing import check_device, ranker_for

__all__ = ["check_device", "ranker_for"]
