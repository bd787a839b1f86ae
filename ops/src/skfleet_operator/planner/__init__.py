"""How many VMs a load needs, what they cost, and a day of theirs: `skfleet plan`.

A load test's steps → a queue that behaves like the measured VM (`queueing`) → a fleet (`sizing`) → a
day of it, decided by the emulator's own functions (`day`) → cost (`prices`).
"""
