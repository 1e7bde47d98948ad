"""Random views of a batch of pictures, by kornia, on the device where the batch is."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nearfar.errors import check_range

Views = Callable[[Tensor], Tensor]


def simclr_views(
    size: int, *, rotate: float = 0.0, crop: float = 0.2, colour: float = 0.4
) -> Views:
    """SimCLR's set: random resized crop, flip, colour, grey, blur (Chen et al. 2020, app. A).

    Args:
        size: Side of the views.
        rotate: Largest rotation in degrees, either way; 0 for none.
        crop: Smallest share of the picture's area that a crop keeps.
        colour: Strength of brightness, contrast and saturation changes; a quarter of it for hue.

    Returns:
        A function from (N, 3, H, W) floats in 0..1 to (N, 3, size, size); each row draws its own.

    Raises:
        NearfarError: A number that makes no sense.
    """
    from kornia import augmentation as k

    check_range(0, 360, rotate=rotate)
    check_range(0, 1, "(]", crop=crop)
    check_range(0, 1, colour=colour)
    steps = [
        k.RandomResizedCrop((size, size), scale=(crop, 1.0), cropping_mode="resample"),
        k.RandomHorizontalFlip(),
        k.ColorJiggle(colour, colour, colour, colour / 4, p=0.8),
        k.RandomGrayscale(p=0.2),
    ]
    if size > 32:
        # SimCLR leaves blur out at 32 pixels (appendix B.9): there is little left to blur.
        steps.append(k.RandomGaussianBlur((3, 3), (0.1, 1.5), p=0.5))
    if rotate:
        steps.insert(0, k.RandomRotation(rotate, p=1.0))
    views: Views = k.ImageSequential(*steps)
    return views


def crooked_views(rotate: float = 45.0, shift: float = 0.2, scale: float = 0.25) -> Views:
    """Random rotation, shift and scale: the same thing seen crookedly.

    Args:
        rotate: Largest rotation in degrees, either way.
        shift: Largest shift as a share of the side.
        scale: Largest relative change of size.

    Raises:
        NearfarError: A number that makes no sense.
    """
    from kornia import augmentation as k

    check_range(0, 360, rotate=rotate)
    check_range(0, 1, shift=shift)
    check_range(0, 1, "[)", scale=scale)
    views: Views = k.RandomAffine(rotate, (shift, shift), (1 - scale, 1 + scale), p=1.0)
    return views
