"""`python -m vae_core`: see vae_core.cli."""

import sys

from vae_core import memory
from vae_core.cli import main

memory.keep_all()
sys.exit(main())
