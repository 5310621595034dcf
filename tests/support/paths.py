"""Where things lie: the checkout, and what is stored beside the tests."""

import pathlib

TESTS = pathlib.Path(__file__).parents[1]
ROOT = TESTS.parent
GOLDEN = TESTS / "golden"  # parity vectors
TORCH_FILES = TESTS / "torch_files"  # files of torch.save
SHARED = ROOT.parent / "shared"  # real data, which a user's machine does not have
