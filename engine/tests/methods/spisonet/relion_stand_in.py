"""relion_wrapper with a stand-in for the network, which can be told to go wrong.

TOY_NETWORK says how, TOY_ITERATION from which iteration on.
"""

import os
import resource
import signal
import sys
import time

import numpy as np

from cryodl.methods.spisonet.external_reconstruct import main
from cryodl.methods.spisonet.relion import correction


def stand_in(task, maps, weight, mask, *, mean_cosine):
    kind = os.environ.get("TOY_NETWORK", "identity")
    if task.call.name.iteration < int(os.environ.get("TOY_ITERATION", "1")):
        kind = "identity"
    if kind == "fail":
        raise RuntimeError("the loss is not finite")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "slow":
        time.sleep(3)
    if kind == "disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    if kind == "nan":
        maps = {half: np.full_like(volume, np.nan) for half, volume in maps.items()}
    if kind == "constant":
        maps = {half: np.ones_like(volume) for half, volume in maps.items()}
    if kind == "scale":
        maps = {half: 100 * volume for half, volume in maps.items()}
    if kind == "box":
        maps = {half: volume[1:, 1:, 1:] for half, volume in maps.items()}
    return maps


correction.run_network = stand_in

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
