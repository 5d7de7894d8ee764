"""For the browser tests: a chart of a run that was steered twice in a moment, or ?bars=n bars."""

import numpy as np
import streamlit as st

from ui.components.live_chart import Series, VerticalMark, live_chart
from ui.layout import dimension_name

count = int(st.query_params.get("bars", 0))
epoch = np.linspace(0.4, 80, 200)
with st.container(width=260):
    if count:
        live_chart(
            [Series("active", np.arange(1, count + 1), np.ones(count), "#888888")],
            key="bars",
            label="KL per latent dimension",
            x="latent dimension",
            y="nats",
            bars=list(map(dimension_name, range(count))),
        )
    else:
        live_chart(
            [Series("train", epoch, -1500 * np.exp(-epoch / 20), "#888888")],
            key="steered",
            label="Loss",
            x="epoch",
            y="nats",
            marks=[VerticalMark(26, "β 40"), VerticalMark(28, "rate 0.0005")],
        )
