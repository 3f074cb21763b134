"""Data sets as array_record files that any example is read from in one step, written and read without TensorFlow.

    build("refcoco", root="dataset", out="built", split="train")       build.py
    BuiltSource("built", "refcoco", "train")[7]                        built.py, an Example with its pictures in memory

A module a source holds its tfds builders (`tfds build` finds them, too); all they do is in `tfds_builder.py`.
"""
