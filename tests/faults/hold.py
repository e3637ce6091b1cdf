"""Runs a program as its child; on SIGHUP has those of its threads stand still whose names begin so (ptrace).
Ends as the program does.

hold.py THREADS PROGRAM [ARGUMENT]...
"""

import ctypes
import os
import signal
import subprocess
import sys

ATTACH = 16
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
# Its child must not outlive it, however it ends.
KILL_WITH_PARENT = 1
child = subprocess.Popen(
    sys.argv[2:], preexec_fn=lambda: libc.prctl(KILL_WITH_PARENT, signal.SIGKILL)
)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
signal.sigwait({signal.SIGHUP})
threads = f"/proc/{child.pid}/task"
for thread in os.listdir(threads):
    with open(f"{threads}/{thread}/comm") as name:
        if name.read().startswith(sys.argv[1]):
            if libc.ptrace(ATTACH, int(thread), None, None) != 0:
                sys.exit(f"hold.py: {os.strerror(ctypes.get_errno())}")
            os.waitpid(int(thread), WALL)
print("they stand still", flush=True)
while True:
    pid, status = os.waitpid(-1, WALL)
    if pid == child.pid and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        sys.exit(os.waitstatus_to_exitcode(status))
