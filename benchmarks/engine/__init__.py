"""The parts of `engine_speed.py`: seeded material, contestants, and the measuring of processes."""
