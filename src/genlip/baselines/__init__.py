"""Baselines: other objectives on the same blocks, packs, order of samples, tokenizer and schedule as GenLIP.

In: recipes whose `task` names one. Out: the same folders as of GenLIP, so that every measurement reads their encoders.
"""
