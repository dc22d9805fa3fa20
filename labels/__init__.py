"""What is a picture of? Labels: found beside pictures, known to a network by numbers, asked for by
name. Imports `data` and what that stands on.
"""
