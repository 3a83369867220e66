"""Reading: a page of print -> its lines with their text.

In: a model that was trained on lines of print, and an image of a page. Out: texts with boxes, in reading order.
"""
