"""The data sets there are: sources, licences, files and checksums."""

from __future__ import annotations

from lsnn_gym.data.cifar10 import CIFAR_10
from lsnn_gym.data.data_set import DataFile, DataSet, FileSet
from lsnn_gym.data.fsdd_files import FSDD
from lsnn_gym.data.nmnist import NMNIST
from lsnn_gym.data.omniglot_files import OMNIGLOT
from lsnn_gym.data.packaged_digits import DIGITS
from lsnn_gym.data.spike_files import FSDD_SPIKES, N_TIDIGITS, SHD, SSC
from lsnn_gym.data.timit_files import TIMIT
from lsnn_gym.errors import UserError, unknown


def _idx_files(bases: tuple[str, ...], files: dict[str, tuple[int, str]]) -> tuple[DataFile, ...]:
    return tuple(
        DataFile(name, f"sha256:{digest}", size, tuple(f"{base}/{name}" for base in bases))
        for name, (size, digest) in files.items()
    )


MNIST = FileSet(
    name="mnist",
    summary="handwritten digits: 60,000 train and 10,000 test images of 28 x 28, 10 classes",
    source="Y. LeCun, C. Cortes and C. J. C. Burges, http://yann.lecun.com/exdb/mnist",
    licence="CC BY-SA 3.0",
    files=_idx_files(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        {
            "train-images-idx3-ubyte.gz": (
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            "train-labels-idx1-ubyte.gz": (
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            "t10k-images-idx3-ubyte.gz": (
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            "t10k-labels-idx1-ubyte.gz": (
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        },
    ),
)

FASHION_MNIST = FileSet(
    name="fashion-mnist",
    summary="clothes: 60,000 train and 10,000 test images of 28 x 28, 10 classes",
    source="H. Xiao, K. Rasul and R. Vollgraf (Zalando SE), https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    files=_idx_files(
        (
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        ),
        {
            "train-images-idx3-ubyte.gz": (
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            "train-labels-idx1-ubyte.gz": (
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            "t10k-images-idx3-ubyte.gz": (
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            "t10k-labels-idx1-ubyte.gz": (
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        },
    ),
)

DATA_SETS: dict[str, DataSet] = {
    data_set.name: data_set
    for data_set in (
        CIFAR_10,
        DIGITS,
        FASHION_MNIST,
        FSDD,
        FSDD_SPIKES,
        MNIST,
        N_TIDIGITS,
        NMNIST,
        OMNIGLOT,
        SHD,
        SSC,
        TIMIT,
    )
}


def data_set(name: str) -> DataSet:
    """Return the data set of that name.

    Raises:
        UserError: There is none; the nearest name is given.
    """
    if name not in DATA_SETS:
        raise UserError(unknown("data set", name, DATA_SETS))
    return DATA_SETS[name]
