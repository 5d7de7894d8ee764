"""A chart of a run that was steered twice in a moment, for the browser tests."""

import numpy as np
import streamlit as st

from ui.components.live_chart import Mark, Series, live_chart

epoch = np.linspace(0.4, 80, 200)
with st.container(width=260):
    live_chart(
        [Series("train", epoch, -1500 * np.exp(-epoch / 20), "#888888")],
        key="steered",
        label="Loss",
        x="epoch",
        y="nats",
        marks=[Mark(26, "β 40"), Mark(28, "rate 0.0005")],
    )
