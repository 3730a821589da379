"""Write the stacks of all threads on a signal, to find out where a process hangs."""

import faulthandler
import functools
import signal
import threading

_ERROR_OUTPUT = 2


def write_stacks_on(number: signal.Signals) -> None:
    """Let `number` write the stacks of all threads to standard error from now on. Call it early in the main thread.

    A thread of its own waits for the signal, so that it is answered while the main thread hangs in compiled code.
    `faulthandler.register` would answer it too, but reads the stacks of threads that are running meanwhile, which has
    crashed a service under load. A thread that was started before, as NumPy's are when it is imported, may take the
    signal instead: then the main thread answers.
    """
    # Threads and commands that are started later inherit this.
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    signal.signal(number, lambda *_: _write())
    _start_waiting(number)


@functools.cache
def _start_waiting(number: signal.Signals) -> None:
    threading.Thread(target=_wait, args=(number,), name="stacks", daemon=True).start()


def _wait(number: signal.Signals) -> None:
    while True:
        signal.sigwait({number})
        _write()


def _write() -> None:
    faulthandler.dump_traceback(file=_ERROR_OUTPUT, all_threads=True)
