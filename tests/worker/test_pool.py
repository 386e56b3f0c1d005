from worker.app import Threads

from .waiting import until


class Hub:
    """Stands for Celery's event loop, of which this alone is asked."""

    def __init__(self, seen):
        self.seen = seen

    def call_soon(self, callback):
        callback()
        self.seen.append("woken")


def test_the_loop_is_woken_once_a_task_is_over_for_celery_too():
    seen = []
    pool = Threads(1)
    pool.register_with_event_loop(Hub(seen))
    pool.on_apply(lambda: seen.append("ran"), (), callback=lambda _result: seen.append("over"))
    until(lambda: len(seen) == 3)
    pool.on_stop()
    assert seen == ["ran", "over", "woken"]
