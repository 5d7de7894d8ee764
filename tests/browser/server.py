"""Streamlit's command line for the tests, which would leave next to nothing to trainers that give way to them."""

import runpy

from vae_core import standby

if __name__ == "__main__":
    standby._PRIORITY = 0
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)
