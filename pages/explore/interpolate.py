import streamlit as st

from ui import state

entry, checkpoint = state.selected()
st.title("soon")
st.write(checkpoint.record)
