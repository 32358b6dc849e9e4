"""Names of the methods that are trained, in groups, as the registry has them."""

from unweight.learn.labelled_heads.data import HeadMethod
from unweight.learn.pairs.pair_data import PairMethod
from unweight.learn.training.trainable import trainable
from unweight.registry import trained_methods

POSTERIOR, RESIDUAL = "t1-posterior", "t1-residual"
RESNET, RIM, DIFFUSOR = "t1-resnet", "t1-rim", "t1-diffusor"
MAPS, MAPS_UNCONDITIONED, MAPS_UNET, MAPS_PGAN = "maps", "maps-no-embedding", "maps-unet", "maps-pgan"
T1W, T1W_UNET, T1W_GAN, T1W_FAST = "mprage", "mprage-unet", "mprage-gan", "mprage-fastddpm"
STRUCTURES = "structures"
METHODS = tuple(item.weights for item in trained_methods())
SHIPPED = tuple(item.weights for item in trained_methods() if item.shipped)
FROM_SERIES = tuple(item.weights for item in trained_methods() if item.family == "t1")
FROM_HEADS = tuple(
    item.weights for item in trained_methods() if isinstance(trainable(item.weights), HeadMethod)
)
FROM_WEIGHTED = tuple(item.weights for item in trained_methods() if item.family == "weighted")
T1W_CONDITIONED = "mprage-conditioned"
# Those that take echoes without flip angle and TR.
FROM_ECHOES = tuple(
    item.weights
    for item in trained_methods()
    if item.family == "mprage" and item.weights != T1W_CONDITIONED
)
FROM_PAIRS = tuple(name for name in METHODS if isinstance(trainable(name), PairMethod))
