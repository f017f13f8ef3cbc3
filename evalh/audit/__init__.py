"""Audits of judges from what the store holds: agreement with people, biases, dependence between judges, agreement among people."""
