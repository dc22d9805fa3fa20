"""A generator in the browser: the page, the one thread that computes for all its windows, and the
command lines that make the same bytes. Imports all rooms but scripts;
only `desk.py`, `page.py`, `images.py` and `works.py` need Gradio.
"""
