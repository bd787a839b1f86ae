"""Appended to a copy of the app: a build that misbehaves as a release's `keepalive_s` says.

It is right wherever the service looks at itself, so that only what a rollout does can find it out.
"""

# ruff: noqa: F821
import os as _os
import time as _time

WRONG, SLOW, FAILING, BROKEN, UNREADY = 601, 602, 603, 604, 605
_KIND = int(_os.environ.get("SKFLEET_KEEPALIVE_S") or 0)
# Answers that come before it misbehaves under traffic: the gate's own golden rows are fewer.
_PATIENCE = 30
_answered = 0

if _KIND == BROKEN:
    raise ImportError("this build cannot be imported")

_right_answer = answer


def answer(labels, probabilities):
    global _answered
    _answered += 1
    if _KIND == WRONG:
        labels = [1 - label for label in labels]
    if _KIND == SLOW and _answered > _PATIENCE:
        _time.sleep(0.45)
    # In stretches: a failure of the fast lane is asked again of Flask at once.
    if _KIND == FAILING and _answered > _PATIENCE and _answered % 40 < 15:
        raise RuntimeError("this build fails under traffic")
    return _right_answer(labels, probabilities)
