"""ResNet-50 as a classifier of object crops (He et al., "Deep Residual Learning", CVPR 2016)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 1000  # of ImageNet
INPUT_SIDE = 224
MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1] over ImageNet
DEVIATION = (0.229, 0.224, 0.225)


class ImageNetClassifier(nn.Module):
    """Class probabilities of pictures of any size.

    Args:
        network: pictures (N, 3, 224, 224), normalised by ImageNet's mean and deviation, to (N, K) logits.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None])

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, K) probabilities, each row summing to 1, of pictures (N, 3, H, W), RGB in [0, 1]."""
        resized = F.interpolate(pictures, size=(INPUT_SIDE, INPUT_SIDE), mode="bilinear")
        logits: Tensor = self.network((resized - self.mean) / self.deviation)
        return logits.float().softmax(dim=1)


def empty_resnet50() -> nn.Module:
    """The layers of torchvision's ResNet-50 on the meta device: no values, and no random number drawn.

    `load_state_dict(..., assign=True)` gives it values.
    """
    import torchvision  # type: ignore[import-untyped]  # takes seconds, and few teachers need it

    with torch.device("meta"):
        network: nn.Module = torchvision.models.resnet50(weights=None)
    return network
