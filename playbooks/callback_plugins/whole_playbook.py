"""Refuses command-line options that drop plays of a playbook, before its first play runs.

Most playbooks here alternate plays on `localhost` (lease, plan, desired release, clean-up) with plays on
VMs. `--limit`, `--tags`, `--skip-tags`, `--start-at-task` and `--step` drop some of them: the rest does
nothing, or half of it, and exits 0. A play that is dropped cannot refuse, so this callback does. Ansible
loads it from beside the playbook, whatever `ansible.cfg` and working directory are. Listings and
--syntax-check run no play and load no callback.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.utils.display import Display

DOCUMENTATION = """
    name: whole_playbook
    type: aggregate
    short_description: refuse options that drop plays
    description: Ends ansible-playbook with exit code 4 where an option would drop plays.
"""

PLAYBOOKS = Path(__file__).resolve().parents[1]
REFUSED = 4

MOVES = "rollout_batches sets how many VMs move at once; `drain.yml -e host=NAME` keeps a VM out of traffic"
# The options that each playbook can run under. One that is missing here accepts none.
ACCEPTED: dict[str, set[str]] = {
    "configure.yml": set(),
    "converge.yml": set(),
    "drain.yml": set(),
    "image.yml": set(),
    "loadtest.yml": set(),
    "patch.yml": set(),
    "promote_model.yml": set(),
    "replace.yml": set(),
    "rollback.yml": set(),
    "rollout.yml": set(),
    "rollout_go_back.yml": set(),
    "rollout_reconcile.yml": set(),
    # Each host is configured by itself, and no task has a tag; Molecule skips two tags of its own.
    "site.yml": {"--limit", "--skip-tags"},
    "status.yml": set(),
    "unlock.yml": set(),
    "waves.yml": set(),
}
INSTEAD_OF_LIMIT = {
    "configure.yml": MOVES,
    "converge.yml": "`skfleet-converge RELEASE` runs it on its own host",
    "drain.yml": "name the VM by `-e host=NAME`",
    "image.yml": "the inventory's group `image` names the host",
    "loadtest.yml": "the inventory's group `loadgen` names the generators",
    "patch.yml": "it takes one VM at a time and stops at the first that fails",
    "promote_model.yml": MOVES,
    "replace.yml": MOVES,
    "rollback.yml": MOVES,
    "rollout.yml": MOVES,
    "status.yml": "its output has a line for each VM",
    "unlock.yml": "`--check` shows what it would restore",
    "waves.yml": """name the fleets by `-e '{"waves": [["NAME"]]}'`""",
}
UNSET = "unset ANSIBLE_RUN_TAGS and ANSIBLE_SKIP_TAGS, and remove `[tags]` from ansible.cfg"
INSTEAD = {
    "--tags": UNSET,
    "--skip-tags": UNSET,
    "--start-at-task": "a run that stopped midway continues when it is started again",
    "--step": "`--check` shows what it would do",
}
# A part, and the playbook that runs it.
PARTS = {"rollout_go_back.yml": "rollout.yml", "rollout_reconcile.yml": "rollout.yml"}


class CallbackModule(CallbackBase):
    """Ansible's interface."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "whole_playbook"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """The first playbook of the command line is loaded; no play has begun."""
        named = [Path(name).resolve() for name in context.CLIARGS["args"]]
        loaded = [Path(play.get_path().rpartition(":")[0]) for play in playbook.get_plays()]
        ours = [path.name for path in [*named, *loaded] if path.parent == PLAYBOOKS]
        message = part(path.name for path in named if path.parent == PLAYBOOKS) or refusal(
            dict.fromkeys(ours), dropping(context.CLIARGS)
        )
        if message:
            Display().error(message, wrap_text=False)
            raise SystemExit(REFUSED)


def dropping(arguments: Any) -> dict[str, str]:
    """The options that drop plays or tasks, with their values; tags also come from the environment."""
    found = {
        "--limit": arguments.get("subset"),
        "--tags": sorted(set(arguments.get("tags") or ["all"]) - {"all"}),
        "--skip-tags": sorted(arguments.get("skip_tags") or []),
        "--start-at-task": arguments.get("start_at_task"),
        "--step": arguments.get("step"),
    }
    return {
        option: ",".join(value) if isinstance(value, list) else "" if value is True else str(value)
        for option, value in found.items()
        if value
    }


def part(named: Any) -> str:
    """The message for a playbook that does nothing by itself; empty where there is none."""
    for name in named:
        if name in PARTS:
            return (
                f"Invalid playbook '{name}': expected one that runs by itself. "
                f"Nothing has changed. Run {PARTS[name]}, which includes it."
            )
    return ""


def refusal(playbooks: Any, options: dict[str, str]) -> str:
    """The message for the first playbook that cannot run under these options; empty for none."""
    for name in playbooks:
        refused = [option for option in options if option not in ACCEPTED.get(name, set())]
        if refused:
            said = ", ".join(f"'{f'{option} {options[option]}'.strip()}'" for option in refused)
            hints = dict.fromkeys(filter(None, (instead(name, option) for option in refused)))
            return (
                f"Invalid option {said} for {name}: expected a run of all its plays, of which this drops "
                f"some. Nothing has changed. Run it without{': ' if hints else ''}{'; '.join(hints)}."
            )
    return ""


def instead(name: str, option: str) -> str:
    """What to use in the place of an option; empty where nothing is."""
    return INSTEAD_OF_LIMIT.get(name, "") if option == "--limit" else INSTEAD.get(option, "")
