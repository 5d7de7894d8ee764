"""Streamlit's side of the laboratory."""

import os

# Read when torch is loaded: threads that wait by spinning stall the pages while a trainer has the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
