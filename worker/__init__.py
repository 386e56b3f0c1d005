"""The worker: claims jobs over HTTP when a doorbell rings, runs them, and appends their records to the API's log.

app       the program: Celery, the doorbell, signals
slots     claim until nothing waits
attempt   one attempt, from the assignment to its last record, by means of
    launchers   the start of the processes      tree             their life and death
    fifo, recorder   their events
    spool       the records that wait           sender           their delivery
    causes      why and how to stop             ending           the last record
    watchdog    whether there is progress       logs, output     what the ranks print
agent     the protocol over HTTP
presence  says that the worker is there, and deletes what the API names
cache     datasets that stay on the machine, within a limit
home      folders, and what dead workers leave in them
"""


def main() -> int:
    """Run a worker until a signal ends it. The answer is the exit code of the process."""
    from worker.app import main as run

    return run()
