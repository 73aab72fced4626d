"""The command ``colbert-rag``."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error of this library becomes a message on stderr and exit code 1.

    Args:
        arguments: What follows the command's name; None for what the process was started with.

    Raises:
        SystemExit: always, with the exit code that ``colbert-rag --help`` documents.
    """
    from colbert_rag.cli.app import app
    from colbert_rag.cli.output import say
    from colbert_rag.errors import ColbertRagError

    if isinstance(sys.stdout, io.TextIOWrapper):
        # a text that the terminal's encoding lacks is shown in part, not refused; stderr is such from the start
        sys.stdout.reconfigure(errors="replace")
    try:
        app(arguments, prog_name="colbert-rag")
    except BrokenPipeError:
        # whoever read our output has had enough; the interpreter must not complain about it at exit
        sys.stdout = None
        sys.exit(0)
    except (ColbertRagError, OSError) as error:
        say(f"{type(error).__name__}: {error}")
        sys.exit(1)
