"""Pictures of speech, models and results: one module a picture, each a function that returns a Figure.

They need matplotlib (``pip install 'asr-ctc[plot]'``), use no global state of it, and are saved with
:func:`asr.plots.style.save`.
"""
