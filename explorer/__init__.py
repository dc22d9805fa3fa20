"""A generator in the browser: the page, the one thread that computes for all its windows, and the
command lines that make the same bytes. Imports `training`, `pictures`, `formats` and `backend`;
only `page.py` and `tabs.py` need Gradio.
"""
