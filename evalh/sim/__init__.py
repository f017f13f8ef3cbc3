"""The judge simulator: an HTTP server on loopback that answers as judges (and systems) with stated properties.

    profile      what is stated: judges, systems, truth (TOML)
    draws        every random choice, as a hash of names
    truth        what the simulator knows of a text: quality, family, length
    prompts      what a request shows (fenced texts) and wants (schema, aspects, levels)
    behaviour    what a judge answers: the probability model of docs/simulator.md, pure
    logprobs     a stated language model: token log-probabilities, and texts it remembers
    wire         OpenAI chat and responses, Anthropic messages: in and out
    completions  the completions format with log-probabilities of the prompt
    batches      OpenAI's and Anthropic's batch APIs
    cast         who plays, and what has been asked of whom: counts, faults, answers
    server       HTTP: routes, keys, latency, rate limits

It exists to prove instruments: an audit must recover what a profile states. It is never a default for real suites.
"""
