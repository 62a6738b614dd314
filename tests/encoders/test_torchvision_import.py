"""timm and open_clip import beside any build of torch."""

import subprocess
import sys

CODE = """
from umlbench.encoders.torchvision_import import mend_torchvision
mended = mend_torchvision()
assert mend_torchvision() is False, "a second call has nothing to do"
import torch, timm, open_clip
model = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32)
assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 192)
print("mended" if mended else "nothing to mend", torch.version.cuda)
"""


def test_timm_and_open_clip_import_after_the_mend():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    if "None" not in done.stdout:  # a CUDA build needs no mend
        assert "nothing to mend" in done.stdout
