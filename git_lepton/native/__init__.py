"""Kernels in C for what numpy needs many passes over memory for, and the way to do without them.

    *.h, *.c          the kernels; plain C11 that knows nothing of Python
    building          compiles them; run when the package is built, where there is a C compiler
    library           loads what was compiled; None where nothing was
    memory            where bytes lie, for C
    planes            one module for each file of kernels: its functions, typed, for arrays or any memory

Every kernel has a twin in numpy beside the module that calls it, and gives the same bits: which of the two ran can be
told by a clock alone. For the coding of planes the twin is zstd, whose frames are others of one meaning; the sums of
a comparison differ by their rounding, since numpy and BLAS add in an order of their own.
docs/adr/0005-kernels-in-c.md says when a kernel is worth having.
"""
