"""Everything between an output and a verdict, except the call: rubric, presentation, parsing, panel, families. Pure."""
