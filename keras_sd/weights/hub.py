"""timm's ImageNet weights on the Hugging Face hub, as a table, and files on the hub.

Each row: network, tag, (input size, crop, interpolation), license, top-1 accuracy at that input size, SHA-256. The
first four are timm's configuration, the accuracy is from its results table, the SHA-256 is what the hub shows for
`model.safetensors`. None means not known here: the hub then states the SHA-256 when the file is downloaded.
"""

from keras_sd.weights.remote_file import RemoteFile

RESULTS = "https://github.com/huggingface/pytorch-image-models/blob/main/results/results-imagenet.csv"


def hosted(repository: str, name: str, sha256: str | None = None) -> RemoteFile:
    """Return the weights file of a repository on the hub under a new name; on the hub, all have the same name."""
    return RemoteFile(f"{repository}/resolve/main/model.safetensors", sha256, filename=f"{name}.safetensors")


FILES = (
    ("resnet18", "a1_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.71504,
     "80c49dee3da4822c009c5a7fe591e9223c5a2cfcf95a4067ca4dfb5a7b89c612"),
    ("resnet18", "a2_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.70634, None),
    ("resnet18", "a3_in1k", (160, 0.95, "bicubic"), "Apache-2.0", 0.6567,
     "f049dd3c2e08176be8844dd123467fa5714cff1f141dcfe0ab4975e567f9de21"),
    ("resnet18", "tv_in1k", (224, 0.875, "bilinear"), "BSD-3-Clause", 0.69752,
     "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81"),
    ("resnet18", "fb_ssl_yfcc100m_ft_in1k", (224, 0.875, "bilinear"), "CC-BY-NC-4.0", 0.72636, None),
    ("resnet18", "fb_swsl_ig1b_ft_in1k", (224, 0.875, "bilinear"), "CC-BY-NC-4.0", 0.73286, None),
    ("resnet18", "gluon_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.70844,
     "6991fcc0c58379a8496f6273b2f211e492f6af6494041fded649a482772ad2bf"),
    ("resnet34", "a1_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.7642, None),
    ("resnet34", "a2_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.7552, None),
    ("resnet34", "a3_in1k", (160, 0.95, "bicubic"), "Apache-2.0", 0.7058, None),
    ("resnet34", "bt_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.75176, None),
    ("resnet34", "ra4_e3600_r224_in1k", (224, 0.9, "bicubic"), "Apache-2.0", 0.77492, None),
    ("resnet34", "tv_in1k", (224, 0.875, "bilinear"), "BSD-3-Clause", 0.73298, None),
    ("resnet34", "gluon_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.74574, None),
    ("resnet50", "a1_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.80382,
     "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb"),
    ("resnet50", "a1h_in1k", (176, 0.9, "bicubic"), "Apache-2.0", 0.79264, None),
    ("resnet50", "a2_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.79828,
     "f531f9aca4dde1b89e9a465c5b9e3b916a2d1b20a216acf3b9473d1e1212ecf6"),
    ("resnet50", "a3_in1k", (160, 0.95, "bicubic"), "Apache-2.0", 0.75994, None),
    ("resnet50", "b1k_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.79564,
     "cd64707e0ef72aa0526ac6d46fba6495ad2088717adb47a62a0b526eb3cd3480"),
    ("resnet50", "b2k_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.79388,
     "0c89502f61808f6fac8c7044eb59c072877c171529fc001bc85403982115232c"),
    ("resnet50", "c1_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.79766, None),
    ("resnet50", "c2_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.79868, None),
    ("resnet50", "d_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.79904,
     "d8ed291891c8ee5777f68136665a4eee2f9ddeb2a9bc88acf4b1676b3bbebf55"),
    ("resnet50", "ram_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.79034, None),
    ("resnet50", "am_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.79004, None),
    ("resnet50", "ra_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.7882,
     "c49195c94e4fe19545a332e706f998d836f63b5d9892cc54526df3ee9b92ba18"),
    ("resnet50", "bt_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.78444, None),
    ("resnet50", "tv_in1k", (224, 0.875, "bilinear"), "BSD-3-Clause", 0.76156,
     "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888"),
    ("resnet50", "tv2_in1k", (176, 0.875, "bilinear"), "BSD-3-Clause", 0.79434, None),
    ("resnet50", "fb_ssl_yfcc100m_ft_in1k", (224, 0.875, "bilinear"), "CC-BY-NC-4.0", 0.79252, None),
    ("resnet50", "fb_swsl_ig1b_ft_in1k", (224, 0.875, "bilinear"), "CC-BY-NC-4.0", 0.81146, None),
    ("resnet50", "gluon_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.7758, None),
    ("resnet101", "a1h_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.8195,
     "1a076c0384295e7d3704f201c5711ff245507db934230bab72ff3014a95f90fe"),
    ("resnet101", "a1_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.81494,
     "1ba5b660e7c175b3c27c557fc7dc8b2815be830c516815b0155f61b403f27380"),
    ("resnet101", "a2_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.81344,
     "d44a7f2e7eaea0bee834ea5e7fd691d239057014628df0bd194c312773b92c83"),
    ("resnet101", "a3_in1k", (160, 0.95, "bicubic"), "Apache-2.0", 0.77928,
     "846baf57eaff38823a70bf63fe58052d2d6b93bd25d3b89c4d31f6909babba0b"),
    ("resnet101", "tv_in1k", (224, 0.875, "bilinear"), "BSD-3-Clause", 0.77404, None),
    ("resnet101", "tv2_in1k", (176, 0.875, "bilinear"), "BSD-3-Clause", 0.79908, None),
    ("resnet101", "gluon_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.79306, None),
    ("resnet152", "a1h_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.82818, None),
    ("resnet152", "a1_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.81998,
     "5a3518da3d35ee04e77a5e69289cff55c3a07a732d7287f6cab20bd4d330eda9"),
    ("resnet152", "a2_in1k", (224, 0.95, "bicubic"), "Apache-2.0", 0.81764, None),
    ("resnet152", "a3_in1k", (160, 0.95, "bicubic"), "Apache-2.0", 0.78896, None),
    ("resnet152", "tv_in1k", (224, 0.875, "bilinear"), "BSD-3-Clause", 0.7833,
     "15897077afdf4d6334dc0c3f8e6fb483afb3faa9298c139f3c6eb29bca6ae5b2"),
    ("resnet152", "tv2_in1k", (176, 0.875, "bilinear"), "BSD-3-Clause", 0.80222, None),
    ("resnet152", "gluon_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.79712, None),
    ("densenet121", "ra_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.75574, None),
    ("densenet121", "tv_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.7475,
     "c894c6d9caa317a8ca1942986dee7a16a86c77734a4d691d2abe05389cfef358"),
    ("densenet161", "tv_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.77384, None),
    ("densenet169", "tv_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.75922, None),
    ("densenet201", "tv_in1k", (224, 0.875, "bicubic"), "Apache-2.0", 0.77284, None),
)  # fmt: skip
