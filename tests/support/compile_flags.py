"""Flags of XLA for tests, which compile for longer than they run.

XLA's own passes all run, LLVM's do not, and fused loops are written without the MLIR emitters,
which take as long as all the rest. Code is generated in one piece, because the tests' processes
share the cores already.
"""

QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)
