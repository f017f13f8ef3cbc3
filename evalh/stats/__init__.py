"""Statistics: arrays in, estimates with intervals out. Pure: no I/O, no clock, seeds given."""
