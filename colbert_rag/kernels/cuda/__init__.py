"""The kernels of ``reference.py`` for NVIDIA GPUs, in Triton: one file for each, kernel and launcher side by side.

They take torch tensors and fill the tensor ``out``. Query tokens lie in blocks of ``ROWS`` rows, see
:mod:`colbert_rag.kernels.cuda.launching`; documents lie packed one after another and are never padded. Nothing here
waits for the device. They run on a processor too, slowly, where ``TRITON_INTERPRET=1`` was set before triton was
imported: that is how they are tested.
"""
