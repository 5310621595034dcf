"""Flags of XLA for tests, which compile for longer than they run.

XLA's own passes all run, LLVM's do not, and fused loops are written without the MLIR emitters,
which take as long as all the rest.
"""

QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
