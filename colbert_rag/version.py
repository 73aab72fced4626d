"""The version of the distribution ``late-interaction-rag``."""

__version__ = "0.1.0"
