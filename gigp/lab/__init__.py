"""The reproduction above the library: settings, data sets, runs, training, prediction, the study.

Nothing outside this folder imports it, but for `gigp.load`.
"""
