"""How XLA compiles a program on CPU, where compiling takes longer than most of what follows.

Other compilers get no options. Times are of jax 0.10.2 on two cores. The options change rounding at
most; the random parameters of a model were the same bit for bit.
"""

import jax

from diffdepth_jax.program.cores import usable_cores

Options = dict[str, bool | int]


def of_predictions() -> Options:
    """For programs that predict: they compile in two thirds of the time, and are as fast.

    XLA's newer emitters of fused loops are left out, and each core compiles a part; by default
    there are 32 parts. A training step with its gradients takes longer to compile without them.
    """
    parts = min(usable_cores(), 32)
    return _on_cpu(
        {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": parts}
    )


def of_what_runs_once() -> Options:
    """For programs that run once: LLVM's optimisation takes many seconds and saves milliseconds.

    To draw the random parameters of the quick start's model it took 23 s, with this 11.
    """
    return _on_cpu({"xla_backend_optimization_level": 1})


def _on_cpu(options: Options) -> Options:
    return options if jax.default_backend() == "cpu" else {}
