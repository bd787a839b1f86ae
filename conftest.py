"""For all tests: how long an example takes on a busy machine is no promise."""

import hypothesis

hypothesis.settings.register_profile("skfleet", deadline=None)
hypothesis.settings.load_profile("skfleet")
