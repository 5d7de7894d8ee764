"""`python -m vae_core`: see vae_core.cli."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded; threads that spin block a busy machine

from vae_core.cli import main

sys.exit(main())
