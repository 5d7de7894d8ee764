"""Derivation: from log p(x) to the loss, line by line, each with its value for one picture."""

import streamlit as st

from ui import derivation, derivation_view, layout, state, understand

layout.head(
    "Derivation",
    "What a VAE minimises follows from what we really want, by three ways that meet. Every line carries its value "
    "for the picture and the model that are chosen, in nats, and each term leads to where it can be touched.",
)
entry, checkpoint = state.selected()
subject, main = understand.subject(entry, checkpoint)
numbers = derivation_view.numbers(entry, checkpoint, subject.image)
with main:
    st.subheader("The words", anchor=False)
    derivation_view.words_table(derivation.words(numbers, subject.image.size))
steps = derivation.steps(numbers, checkpoint, derivation_view.split(checkpoint))
for number, step in enumerate(steps, start=1):
    derivation_view.show(step, number, subject, exact=numbers.exact)
