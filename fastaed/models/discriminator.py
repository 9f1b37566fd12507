"""The discriminator: tells a teacher's map pyramid from the student's. There is one for each teacher."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastaed.pyramid import MapPyramid


class Discriminator(nn.Module):
    """Multi-scale discriminator of Fast-AED (Croitoru et al., CVIU 2024, section 3.3); 959 parameters.

    The 16x16 map is convolved and pooled to 4x4, where the 4x4 map joins; the two are convolved and pooled to
    1x1, where the 1x1 map joins; two linear layers decide.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, 4, 3, padding=1)
        self.coarse = nn.Conv2d(4 + 1, 8, 3, padding=1)
        self.decide = nn.Sequential(nn.Linear(8 + 1, 50), nn.LeakyReLU(), nn.Linear(50, 1))

    def forward(self, maps: MapPyramid[Tensor]) -> Tensor:
        """How much the maps look like the teacher's.

        Args:
            maps: (B, 1, 1), (B, 4, 4), (B, 16, 16) in [0, 1].

        Returns:
            (B,) logits, positive for the teacher's.
        """
        one, four, sixteen = (level.unsqueeze(1) for level in maps)
        at_four = torch.cat([F.max_pool2d(F.relu(self.fine(sixteen)), 4), four], dim=1)
        at_one = torch.cat([F.max_pool2d(F.relu(self.coarse(at_four)), 4), one], dim=1)
        logits: Tensor = self.decide(at_one.flatten(1))
        return logits.squeeze(1)
