"""Networks that put out images: chairs from a description, an image from an image, digits from a latent code."""

import onnx

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

_CHAIR_MODELS, _CHAIR_VIEW, _CHAIR_TRANSFORM = 809, 4, 12
_CHAIR_UP_CHANNELS = (256, 92, 48)

_LATENT, _PIXELS = 20, 28 * 28


def chair() -> onnx.ModelProto:
    """Build the generator of chairs: three descriptions in, an image and its segmentation mask out."""
    b = Builder("chair")
    described = (("model", _CHAIR_MODELS), ("view", _CHAIR_VIEW), ("transform", _CHAIR_TRANSFORM))
    branches = []
    for name, size in described:
        x = _leaky(b, b.dense(b.input(name, (1, size)), size, 512))
        branches.append(_leaky(b, b.dense(x, 512, 512)))
    x = b.node("Concat", *branches, axis=1)
    x = _leaky(b, b.dense(x, 3 * 512, 1024))
    x = _leaky(b, b.dense(x, 1024, 1024))
    image, mask = (_chair_stream(b, x, channels) for channels in (3, 1))
    return b.model({image: (1, 3, 128, 128), mask: (1, 1, 128, 128)})


def _chair_stream(b: Builder, x: str, out_channels: int) -> str:
    """Add what one of the two outputs has for itself.

    An up-convolution of the paper spreads each pixel out to a square of 2 x 2 with zeros and convolves the result with
    kernels of 5 x 5: a transposed convolution of stride 2.
    """
    x = b.reshape(_leaky(b, b.dense(x, 1024, 256 * 8 * 8)), 1, 256, 8, 8, channels=256)
    for channels in _CHAIR_UP_CHANNELS:
        x = _leaky(b, b.up_conv(x, channels, 5, pad=2, output_pad=1))
    return b.up_conv(x, out_channels, 5, pad=2, output_pad=1, gain=1.0)


def _leaky(b: Builder, x: str) -> str:
    return b.leaky_relu(x, 0.2)


def pix2pix() -> onnx.ModelProto:
    """Build the U-Net generator of Pix2Pix: eight halvings, eight doublings, each fed by its mirror image, too."""
    b = Builder("pix2pix")
    widths = (64, 128, 256, 512, 512, 512, 512, 512)
    x = b.conv(b.input("image", (1, 3, 256, 256)), widths[0], 4, stride=2, pad=1, bias=False)
    skips = [x]
    for depth, width in enumerate(widths[1:], start=1):
        x = b.conv(_leaky(b, x), width, 4, stride=2, pad=1, bias=False)
        if depth < len(widths) - 1:
            x = b.batch_norm(x)
            skips.append(x)
    for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
        x = b.batch_norm(b.up_conv(b.relu(x), width, 4, bias=False))
        x = b.concat(skip, x)
    y = b.node("Tanh", b.up_conv(b.relu(x), 3, 4, gain=1.0))
    return b.model({y: (1, 3, 256, 256)})


def vae() -> onnx.ModelProto:
    """Build a variational autoencoder of digits; the noise of its sampling is an input."""
    b = Builder("vae")
    h = b.relu(b.dense(b.input("image", (1, _PIXELS)), _PIXELS, 400))
    mean = b.dense(h, 400, _LATENT, gain=1.0)
    # A tenth of the usual variance: the exponential of it stays near one.
    log_variance = b.dense(h, 400, _LATENT, gain=0.1)
    deviation = b.node("Exp", b.node("Mul", log_variance, b.scalar(0.5)))
    z = b.node("Add", mean, b.node("Mul", b.input("noise", (1, _LATENT)), deviation))
    x = b.relu(b.dense(z, _LATENT, 400))
    y = b.node("Sigmoid", b.dense(x, 400, _PIXELS, gain=1.0))
    return b.model({y: (1, _PIXELS), mean: (1, _LATENT), log_variance: (1, _LATENT)})


NETWORKS: tuple[Network, ...] = (
    Network(
        name="chair",
        family="chair",
        build=chair,
        source=(
            "Dosovitskiy et al., CVPR 2015, the version that puts out 128 x 128 pixels: 809 models, 4 numbers for the "
            "view, 12 for the transformation; chosen here: leaky rectifiers of slope 0.2; 256, 92, 48 maps between"
        ),
        shapes=(
            *(line for _ in range(3) for line in ("described (Gemm): 1 x 512", "described (Gemm): 1 x 512")),
            "joined (Concat): 1 x 1536",
            "fc3 (Gemm): 1 x 1024",
            "fc4 (Gemm): 1 x 1024",
            *(
                line
                for channels in (3, 1)
                for line in (
                    "fc5 (Gemm): 1 x 16384",
                    "unfolded (Reshape): 1 x 256 x 8 x 8",
                    "uconv1 (ConvTranspose): 1 x 256 x 16 x 16",
                    "uconv2 (ConvTranspose): 1 x 92 x 32 x 32",
                    "uconv3 (ConvTranspose): 1 x 48 x 64 x 64",
                    f"uconv4 (ConvTranspose): 1 x {channels} x 128 x 128",
                )
            ),
        ),
    ),
    Network(
        name="pix2pix",
        family="pix2pix",
        build=pix2pix,
        source=(
            "Isola et al., CVPR 2017: the U-Net of 256 x 256 pixels as its authors' PyTorch version has it, batch "
            "normalisation with stored statistics, no dropout"
        ),
        published=Published(
            54.408e6, None, "log of junyanz/pytorch-CycleGAN-and-pix2pix for unet_256 (its issue 1152)"
        ),
    ),
    Network(
        name="vae",
        family="vae",
        build=vae,
        source="the VAE of PyTorch's examples (Kingma and Welling, ICLR 2014): 784-400-20-400-784",
        published=Published(652_824, None, "summaries of PyTorch's VAE example"),
    ),
)
