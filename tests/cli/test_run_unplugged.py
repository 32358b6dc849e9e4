"""A host that loses its network: the other one does its share."""

from pathlib import Path

import pytest

from tests.cli.unplugged import ADDRESS, HOSTS, hosts, on, unplug, wait_for
from unweight.run.record import State, records_of

SUBJECTS = 20


@pytest.mark.slow
def test_every_visit_ends_when_a_host_is_unplugged(tmp_path: Path) -> None:
    from tests.cli.small_tree import write_small_tree

    raw, out = tmp_path / "raw", tmp_path / "out"
    write_small_tree(raw, SUBJECTS)
    running = []
    with hosts():
        try:
            running.append(on(HOSTS[0], "distributed.cli.dask_scheduler", "--no-dashboard"))
            for host in HOSTS[1:]:
                running.append(
                    on(host, "distributed.cli.dask_worker", ADDRESS, "--nthreads", "1", "--no-dashboard")
                )
            words = ("unweight", "run", str(raw), str(out), "participant", "--scheduler", ADDRESS)
            run = on(HOSTS[0], *words, "--insecure", "--no-report", "--set", "t1.method=ml")
            running.append(run)
            wait_for(out / "logs" / "steps", "*.json", 4, 120)
            unplug(HOSTS[2])
            assert run.wait(timeout=300) == 0
        finally:
            for one in running:
                one.kill()
                one.wait()
    assert [one.state for one in records_of(out)] == [State.COMPLETE] * SUBJECTS
