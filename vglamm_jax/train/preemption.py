"""The notice that the machine is about to be taken away (SIGTERM), heard from the start of a run to its end."""

import os
import signal
import socket
import sys
import threading


class Preemption:
    """`with Preemption() as preemption:` around a run; between steps the loop asks whether it was `reached`.

    Until the loop says `begun`, nothing is in memory that is not on disk: a notice then ends the process at once, with
    exit code 0. That must not wait for Python's signal handlers, which do not run while XLA compiles for minutes;
    hence a thread that reads the signals' numbers from a socket.

    Several processes must stop at the same step: once they are connected JAX's own handler takes over, tells all of
    them of one's notice, and says after which step to stop.
    """

    def __init__(self):
        self.told, self.begun = threading.Event(), threading.Event()
        self.before = None

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            listening, self.telling = socket.socketpair()
            self.telling.setblocking(False)
            self.before = signal.signal(signal.SIGTERM, lambda *_: None), signal.set_wakeup_fd(self.telling.fileno())
            threading.Thread(target=self._listen, args=[listening], daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before[0])
            signal.set_wakeup_fd(self.before[1])
            self.telling.close()

    def _listen(self, listening: socket.socket) -> None:
        with listening:
            while numbers := listening.recv(16):
                if signal.SIGTERM in numbers:
                    self.told.set()
                    if not self.begun.is_set():
                        print("told to end before the first step: nothing to save", file=sys.stderr, flush=True)
                        os._exit(0)

    def reached(self, step: int) -> bool:
        """Whether to save and end now, before `step`; every process asks at every step."""
        import jax
        from jax.experimental import multihost_utils

        return self.told.is_set() or (jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step))
