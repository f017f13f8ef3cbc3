"""Probes: what a live judge does, found by asking it (`evalh audit --probe`; METHODS §1.1–§1.4).

injections.toml   what a manipulated answer says to its judge: data, shown fenced like every answer
material          answers made longer, made poor, made to say something to the judge: deterministic transforms
questions         what each probe asks each judge about each item
plan              calls, tokens, money and time, before anything is asked
asking            the questions through the one engine, into a run of kind `probe`
figures           from stored verdicts to the figures of one judge
results           the document, made from the store alone: so it can be made again without asking
"""
